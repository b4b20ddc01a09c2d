"""What a batch teaches: the loss of any part of it, and what the forwards of its first update showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from vicur.modeling.chat import Batch, Prompt
from vicur.modeling.scoring import Scores, score_responses, text_config
from vicur.modeling.vision import ImageFeatures
from vicur.training.attempts import Attempts
from vicur.training.diagnostics import RecoveryNorms, logprob_gap
from vicur.training.learner import Learner
from vicur.training.loss import objective_loss
from vicur.training.phases import Phases
from vicur.training.teachers import Teacher
from vicur.training.vision import SharedFeatures

_OVER_THE_VOCABULARY = ("forward_kl", "reverse_kl")


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
        self._exact = self._objective.type in _OVER_THE_VOCABULARY
        self._recovery = RecoveryNorms(learner.student)
        # By the first row of a part: the teacher's log-probs; the student's in the first update, with entropy and mask.
        self._taught: dict[int, Tensor] = {}
        self._first: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def parts(self) -> Iterator[slice]:
        """The micro-batches, as rows of the batch."""
        rows = len(self.attempts.rows)
        size = self.learner.config.micro_batch_size or rows
        for start in range(0, rows, size):
            yield slice(start, min(start + size, rows))

    def loss(self, part: slice, seen: SharedFeatures) -> tuple[Tensor, dict[str, float]]:
        """Loss of some rows, a mean over them, and what the objective tells of them.

        Args:
            part: the rows.
            seen: features of the images from the student's tower as it is now.
        """
        learner, attempts = self.learner, self.attempts
        teacher = None if learner.teacher is None else self._teacher_scores(learner.teacher, part)
        self.phases.end("teacher")
        batch = self._batch([row.student for row in attempts.rows[part]], part)
        first = part.start not in self._first
        with self._recovery if first else nullcontext():
            student = score_responses(learner.student, batch, seen.values, self._forbidden, distributions=self._exact)
        if first:
            self._first[part.start] = (student.logprobs_BR.detach(), student.entropy_BR, batch.response_mask)
        device = batch.input_ids.device
        advantages_B = None if attempts.advantages_B is None else attempts.advantages_B[part].to(device)
        # Of one update the ratio of new and old probabilities is 1: nothing is to be clipped.
        old_BR = attempts.old_logprobs(part).to(device) if learner.config.updates_per_batch > 1 else None
        return objective_loss(self._objective, teacher, student, batch.response_mask, advantages_B, old_BR)

    def metrics(self) -> dict[str, float]:
        """Gap, entropy and the strength of cue recovery in the first update, where there were such."""
        student_BR, entropy_BR, mask_BR = (_joined(parts) for parts in zip(*self._first.values(), strict=True))
        gap = logprob_gap(_joined(list(self._taught.values())), student_BR, mask_BR) if self._taught else {}
        return {**gap, "entropy": float(entropy_BR[mask_BR].mean()), **self._recovery.metrics()}

    def _teacher_scores(self, teacher: Teacher, part: slice) -> Scores:
        """The teacher's scores of some rows. Its log-probs are kept: later updates of the batch learn from the same."""
        known = self._taught.get(part.start)
        if known is not None:
            return Scores(known, torch.zeros_like(known))
        batch = self._batch([row.teacher for row in self.attempts.rows[part]], part)
        with teacher.scoring():
            scores = score_responses(teacher.model, batch, self._features, self._forbidden, distributions=self._exact)
        self._taught[part.start] = scores.logprobs_BR
        return scores

    def _batch(self, prompts: Sequence[Prompt], part: slice) -> Batch:
        return self.learner.chat.collate(prompts, self.attempts.ids[part], device=str(self.learner.student.device))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows of parts whose longest responses differ [b, R] in one tensor [B, R], zero at the padding."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])
