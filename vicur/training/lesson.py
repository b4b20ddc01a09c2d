"""What a batch teaches: the loss of any part of it, and what the forwards of its first update showed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from vicur.modeling.chat import Batch, Prompt
from vicur.modeling.scoring import response_states, text_config
from vicur.modeling.vision import ImageFeatures
from vicur.training.batch import Responses
from vicur.training.diagnostics import RecoveryNorms, logprob_gap
from vicur.training.loss import EngineLogprobs, Loss, TeacherScores, objective_loss, teaching
from vicur.training.metrics import Metrics
from vicur.training.objectives import token_weights
from vicur.training.phases import Phases
from vicur.training.rollout.gap import engine_gap
from vicur.training.state import AnyTeacher, TrainState
from vicur.training.teachers import ModelTeacher
from vicur.training.vision import SharedFeatures


class ScoredBatch:
    """The responses of a batch with all that their loss depends on.

    Args:
        learner: student, teacher and settings.
        attempts: the responses.
        teacher_features: features of their images from the teacher's tower.
        phases: where the time is counted.
    """

    def __init__(
        self, learner: TrainState, attempts: Responses, teacher_features: dict[str, ImageFeatures], phases: Phases
    ) -> None:
        self.learner = learner
        self.attempts = attempts
        self.phases = phases
        self._features = teacher_features
        vocabulary = text_config(learner.student).vocab_size
        self._forbidden = learner.chat.forbidden_ids(vocabulary).to(learner.processes.device)
        self._objective = learner.config.effective.objective
        self._recovery = RecoveryNorms(learner.student)
        # By the first row of a part: what the teacher gives, and what the first update found, with its mask.
        self._taught: dict[int, TeacherScores] = {}
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
        device = learner.processes.device
        batch = self._batch([row.student for row in attempts.rows[part]], part, device)
        first = part.start not in self._first
        old_BR, drawn = self._old(part), self._drawn(part)

        def score() -> tuple[Tensor, Loss, Tensor]:
            states = response_states(learner.student, batch, seen.values)
            found = objective_loss(
                self._objective,
                states,
                token_weights(states.mask_BR, len(attempts.rows) * learner.processes.count),
                self._forbidden,
                taught=taught,
                advantages_B=None if attempts.advantages_B is None else attempts.advantages_B[part].to(device),
                old_BR=old_BR,
                clipped=learner.config.updates_per_batch > 1,
                drawn=drawn,
            )
            return found.value, found, states.mask_BR

        with self._recovery if first else nullcontext(), learner.recomputation.on():
            value, found, mask_BR = learner.spread.scored(score)
        if first:
            self._first[part.start] = (replace(found, value=value.detach()), mask_BR)
        return value, found.told

    def tally(self) -> Metrics:
        """Gap, entropy and the strength of cue recovery in the first update, where there were such."""
        tally = Metrics()
        for found, mask_BR in self._first.values():
            tally.average("entropy", float(found.entropy_BR[mask_BR].sum()), int(mask_BR.sum()))
            if found.teacher_BR is not None:
                tally.join([logprob_gap(found.teacher_BR, found.student_BR, mask_BR)])
        tally.join([self._recovery.tally()])
        return tally

    def engine_gap(self) -> Metrics:
        """How far another engine was from the student that it stood for, in the first update."""
        tally = Metrics()
        if self.attempts.elsewhere:
            for start, (found, mask_BR) in self._first.items():
                drawn_BR = self.attempts.drawn_logprobs(slice(start, start + len(mask_BR))).to(mask_BR.device)
                tally.join([engine_gap(drawn_BR, found.student_BR, mask_BR)])
        return tally

    def _old(self, part: slice) -> Tensor | None:
        """Log-probabilities of the tokens before the first update, where the batch serves several: those of another engine are not the
        student's, whose first forward tells its own."""
        if self.learner.config.updates_per_batch == 1:
            # The ratio of new and old probabilities is 1: nothing is to be clipped.
            return None
        if not self.attempts.elsewhere:
            return self.attempts.drawn_logprobs(part).to(self.learner.processes.device)
        known = self._first.get(part.start)
        return None if known is None else known[0].student_BR

    def _drawn(self, part: slice) -> EngineLogprobs | None:
        importance = self.learner.config.rollout.importance
        if not self.attempts.elsewhere or importance.type == "none":
            return None
        return EngineLogprobs(self.attempts.drawn_logprobs(part).to(self.learner.processes.device), importance.cap)

    def _teaching(self, teacher: AnyTeacher, part: slice) -> TeacherScores:
        """What the teacher gives for some rows. Later updates of the batch learn from the same."""
        known = self._taught.get(part.start)
        if known is not None:
            return known
        prompts = [row.teacher for row in self.attempts.rows[part]]
        if isinstance(teacher, ModelTeacher):
            made = self._forward(teacher, prompts, part)
        else:
            made = TeacherScores(teacher.logprobs(prompts, self.attempts.ids[part]))
        made = made.to(self.learner.processes.device)
        if self.learner.config.updates_per_batch > 1:
            self._taught[part.start] = made
        return made

    def _forward(self, teacher: ModelTeacher, prompts: Sequence[Prompt], part: slice) -> TeacherScores:
        device = self.learner.processes.teacher_device
        batch, forbidden = self._batch(prompts, part, device), self._forbidden.to(device)
        with teacher.scoring():
            return teacher.spread.run(
                lambda: teaching(self._objective, response_states(teacher.model, batch, self._features), forbidden)
            )

    def _batch(self, prompts: Sequence[Prompt], part: slice, device: torch.device) -> Batch:
        return self.learner.chat.collate(prompts, self.attempts.ids[part], device=str(device))
