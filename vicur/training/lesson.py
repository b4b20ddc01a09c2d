"""What a batch teaches: the loss of any part of it, and what the forwards of its first update showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from vicur.modeling.chat import Batch, Prompt
from vicur.modeling.scoring import response_states, text_config
from vicur.modeling.vision import ImageFeatures
from vicur.training.attempts import Attempts
from vicur.training.diagnostics import RecoveryNorms, logprob_gap
from vicur.training.learner import Learner
from vicur.training.loss import Loss, Teaching, objective_loss, teaching
from vicur.training.objectives import token_weights
from vicur.training.phases import Phases
from vicur.training.teachers import Teacher
from vicur.training.vision import SharedFeatures


class Lesson:
    """The responses of a batch with all that their loss depends on.

    Args:
        learner: student, teacher and settings.
        attempts: the responses.
        teacher_features: features of their images from the teacher's tower.
        phases: where the time is counted.
    """

    def __init__(
        self, learner: Learner, attempts: Attempts, teacher_features: dict[str, ImageFeatures], phases: Phases
    ) -> None:
        self.learner = learner
        self.attempts = attempts
        self.phases = phases
        self._features = teacher_features
        vocabulary = text_config(learner.student).vocab_size
        self._forbidden = learner.chat.forbidden_ids(vocabulary).to(learner.student.device)
        self._objective = learner.config.effective.objective
        self._recovery = RecoveryNorms(learner.student)
        # By the first row of a part: what the teacher gives, and what the first update found, with its mask.
        self._taught: dict[int, Teaching] = {}
        self._first: dict[int, tuple[Loss, Tensor]] = {}

    def parts(self) -> Iterator[slice]:
        """The micro-batches, as rows of the batch."""
        rows = len(self.attempts.rows)
        size = self.learner.config.micro_batch_size or rows
        for start in range(0, rows, size):
            yield slice(start, min(start + size, rows))

    def loss(self, part: slice, seen: SharedFeatures) -> tuple[Tensor, dict[str, float]]:
        """The part of the batch's loss that falls to some rows, and what the objective tells of them.

        Args:
            part: the rows.
            seen: features of the images from the student's tower as it is now.
        """
        learner, attempts = self.learner, self.attempts
        taught = None if learner.teacher is None else self._teaching(learner.teacher, part)
        self.phases.end("teacher")
        batch = self._batch([row.student for row in attempts.rows[part]], part)
        first = part.start not in self._first
        with self._recovery if first else nullcontext():
            states = response_states(learner.student, batch, seen.values)
        device = batch.input_ids.device
        found = objective_loss(
            self._objective,
            states,
            token_weights(states.mask_BR, len(attempts.rows)),
            self._forbidden,
            taught=taught,
            advantages_B=None if attempts.advantages_B is None else attempts.advantages_B[part].to(device),
            # Of one update the ratio of new and old probabilities is 1: nothing is to be clipped.
            old_BR=attempts.old_logprobs(part).to(device) if learner.config.updates_per_batch > 1 else None,
        )
        if first:
            self._first[part.start] = (replace(found, value=found.value.detach()), states.mask_BR)
        return found.value, found.told

    def metrics(self) -> dict[str, float]:
        """Gap, entropy and the strength of cue recovery in the first update, where there were such."""
        found, masks = zip(*self._first.values(), strict=True)
        mask_BR, student_BR, entropy_BR = (
            _joined(parts) for parts in (masks, [f.student_BR for f in found], [f.entropy_BR for f in found])
        )
        teacher = [f.teacher_BR for f in found if f.teacher_BR is not None]
        gap = logprob_gap(_joined(teacher), student_BR, mask_BR) if teacher else {}
        return {**gap, "entropy": float(entropy_BR[mask_BR].mean()), **self._recovery.metrics()}

    def _teaching(self, teacher: Teacher, part: slice) -> Teaching:
        """What the teacher gives for some rows. Later updates of the batch learn from the same."""
        known = self._taught.get(part.start)
        if known is not None:
            return known
        batch = self._batch([row.teacher for row in self.attempts.rows[part]], part)
        with teacher.scoring():
            made = teaching(self._objective, response_states(teacher.model, batch, self._features), self._forbidden)
        if self.learner.config.updates_per_batch > 1:
            self._taught[part.start] = made
        return made

    def _batch(self, prompts: Sequence[Prompt], part: slice) -> Batch:
        return self.learner.chat.collate(prompts, self.attempts.ids[part], device=str(self.learner.student.device))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows of parts whose longest responses differ [b, R] in one tensor [B, R], zero at the padding."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])
