"""Responses, scored by student and teacher, and their loss.

The student's forward gives hidden states only. What the loss needs of the vocabulary is computed from them in tiles, as the objective's
``signal`` requires: no logits [B, T, V] exist at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vicur.config.objective import Objective
from vicur.modeling.chat import Batch, Prompt
from vicur.modeling.divergence import weighted_divergence
from vicur.modeling.scoring import ResponseStates, response_states, text_config
from vicur.modeling.token_logprobs import token_logprobs
from vicur.modeling.vision import ImageFeatures
from vicur.training.diagnostics import RecoveryNorms, engine_gap, importance_metrics, logprob_gap
from vicur.training.metrics import Metrics, PhaseTimer
from vicur.training.objectives import (
    TokenScores,
    divergence_of,
    equal_token_weights,
    token_loss_of,
    token_weights,
    truncated_ratios,
)
from vicur.training.responses import Responses
from vicur.training.state import AnyTeacher, TrainState
from vicur.training.teachers import ModelTeacher, TeacherScores, teacher_scores
from vicur.training.vision import SharedFeatures


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of some responses, and scores from the same forward. [B, R] tensors have no graph and are zero at padding."""

    value: Tensor  # their part of the batch's loss, with its graph
    student_BR: Tensor  # log-probabilities of the tokens
    teacher_BR: Tensor | None  # the teacher's, if the objective reads a teacher
    entropy_BR: Tensor  # of the student's distributions, in nats
    metrics: dict[str, float] = field(default_factory=dict)  # means over the tokens


@dataclass(frozen=True, eq=False)
class SamplerLogprobs:
    """Log-probabilities [B, R] that the tokens were sampled with, by another engine or earlier weights, for importance weights of at most
    ``cap``."""

    logprobs_BR: Tensor
    cap: float


def objective_loss(
    objective: Objective,
    student: ResponseStates,
    weights_BR: Tensor,
    forbidden: Tensor,
    *,
    teacher: TeacherScores | None = None,
    advantages_B: Tensor | None = None,
    old_BR: Tensor | None = None,
    clipped: bool = False,
    sampler: SamplerLogprobs | None = None,
) -> Loss:
    """Return the loss of some responses, given the student's states of them.

    Args:
        weights_BR: weights of the tokens, from :func:`~vicur.training.objectives.token_weights`.
        forbidden: sorted ids of the tokens that are never sampled.
        old_BR: log-probabilities of the tokens before the first update on them, if the batch serves several.
        clipped: whether PPO's ratio is clipped. Without ``old_BR``, it is 1.
        sampler: log-probabilities that the tokens were sampled with, if they are weighted by importance. Not for divergences over the
            vocabulary, which take the expectation over the next token exactly.
    """
    mask_BR, weights_N = student.mask_BR, weights_BR[student.mask_BR]
    if objective.signal == "vocabulary":
        assert teacher is not None
        assert teacher.states is not None
        found = weighted_divergence(student, teacher.states, divergence_of(objective), weights_N, forbidden)
        return _loss(student, found.loss, found.student_N, found.teacher_N, found.entropy_N, {})
    top = None if teacher is None else teacher.top
    # One pass over the vocabulary gives the sampled token, in column 0, and the teacher's top tokens.
    ids_NK = student.targets_N[:, None] if top is None else torch.cat([student.targets_N[:, None], top.ids_NK], dim=1)
    student_NK, entropy_N = token_logprobs(student.hidden_NH, student.head_VH, ids_NK, forbidden)
    student_N = student_NK[:, 0]
    old_N = old_BR[mask_BR] if old_BR is not None else student_N.detach() if clipped else None
    sampler_metrics: dict[str, float] = {}
    if sampler is not None:
        before_N = student_N if old_N is None else old_N
        ratios_N = truncated_ratios(before_N, sampler.logprobs_BR[mask_BR], cap=sampler.cap)
        weights_N = weights_N * ratios_N
        sampler_metrics = importance_metrics(ratios_N, sampler.cap)
    advantages_N = None
    if "advantage" in objective.reads:
        assert advantages_B is not None
        advantages_N = advantages_B[:, None].expand(mask_BR.shape)[mask_BR]
    scores = TokenScores(
        student_N,
        weights_N,
        teacher_N=None if teacher is None else teacher.logprobs_N,
        advantages_N=advantages_N,
        old_N=old_N,
        student_NK=None if top is None else student_NK[:, 1:],
        teacher_NK=None if top is None else top.logprobs_NK,
    )
    value, metrics = token_loss_of(objective, scores)
    return _loss(student, value, student_N, scores.teacher_N, entropy_N, metrics | sampler_metrics)


def _loss(
    states: ResponseStates,
    value: Tensor,
    student_N: Tensor,
    teacher_N: Tensor | None,
    entropy_N: Tensor,
    metrics: dict[str, float],
) -> Loss:
    teacher_BR = None if teacher_N is None else states.padded(teacher_N)
    return Loss(value, states.padded(student_N.detach()), teacher_BR, states.padded(entropy_N), metrics)


class ScoredBatch:
    """A batch of responses with everything that its loss depends on. It may be scored in parts (micro-batches)."""

    def __init__(
        self,
        state: TrainState,
        responses: Responses,
        teacher_features: dict[str, ImageFeatures],
        timer: PhaseTimer,
    ) -> None:
        # Micro-batches of similar length have little padding. One batch keeps the order of the examples.
        size = state.config.micro_batch_size or len(responses.rows)
        self.responses = responses.by_length() if size < len(responses.rows) else responses
        self._state = state
        self._timer = timer
        self._teacher_features = teacher_features
        vocabulary = text_config(state.student).vocab_size
        self._forbidden = state.chat.forbidden_ids(vocabulary).to(state.world.device)
        self._objective = state.config.effective.objective
        self._recovery = RecoveryNorms(state.student)
        # Of all ranks, if the loss is their mean.
        by_token = state.config.loss_reduction == "token_mean"
        self._tokens = sum(state.world.gather(responses.tokens)) if by_token else None
        # By the first row of a part: the teacher's scores, and the first update's loss with the mask of its tokens.
        self._teacher_scores: dict[int, TeacherScores] = {}
        self._first: dict[int, tuple[Loss, Tensor]] = {}

    def _weights(self, mask_BR: Tensor) -> Tensor:
        """Return the weights of the tokens of some rows in the loss of all ranks' batch."""
        if self._tokens is not None:
            return equal_token_weights(mask_BR, self._tokens)
        return token_weights(mask_BR, len(self.responses.rows) * self._state.world.size)

    def parts(self) -> Iterator[slice]:
        """Yield the micro-batches, as rows of the batch."""
        rows = len(self.responses.rows)
        size = self._state.config.micro_batch_size or rows
        for start in range(0, rows, size):
            yield slice(start, min(start + size, rows))

    def loss(self, part: slice, features: SharedFeatures) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of some rows, as a part of the batch's loss, and its metrics."""
        state, responses, device = self._state, self.responses, self._state.world.device
        teacher = None if state.teacher is None else self._scores_of(state.teacher, part)
        self._timer.end("teacher")
        batch = self._collate([row.student for row in responses.rows[part]], part, device)
        first = part.start not in self._first
        old_BR, sampler = self._old_logprobs(part), self._sampler_logprobs(part)

        def score() -> tuple[Tensor, Loss, Tensor]:
            states = response_states(state.student, batch, features.values)
            loss = objective_loss(
                self._objective,
                states,
                self._weights(states.mask_BR),
                self._forbidden,
                teacher=teacher,
                advantages_B=None if responses.advantages_B is None else responses.advantages_B[part].to(device),
                old_BR=old_BR,
                clipped=state.config.updates_per_batch > 1,
                sampler=sampler,
            )
            return loss.value, loss, states.mask_BR

        with self._recovery if first else nullcontext(), state.recomputation.active():
            value, loss, mask_BR = state.parallel.run_for_backward(score)
        if first:
            self._first[part.start] = (replace(loss, value=value.detach()), mask_BR)
        return value, loss.metrics

    def metrics(self) -> Metrics:
        """Return log-prob gap, entropy and the strength of cue recovery."""
        # Of the first update, in which the student is still the one that sampled, unless it was sampled ahead.
        metrics = Metrics()
        for loss, mask_BR in self._first.values():
            metrics.add_mean("entropy", float(loss.entropy_BR[mask_BR].sum()), int(mask_BR.sum()))
            if loss.teacher_BR is not None:
                metrics.merge([logprob_gap(loss.teacher_BR, loss.student_BR, mask_BR)])
        metrics.merge([self._recovery.metrics()])
        return metrics

    def engine_gap(self) -> Metrics:
        """Return the gap between the student in the first update and what sampled: another engine, or earlier weights."""
        metrics = Metrics()
        if self.responses.off_policy:
            for start, (loss, mask_BR) in self._first.items():
                engine_BR = self.responses.sampling_logprobs(slice(start, start + len(mask_BR))).to(mask_BR.device)
                metrics.merge([engine_gap(engine_BR, loss.student_BR, mask_BR)])
        return metrics

    def _old_logprobs(self, part: slice) -> Tensor | None:
        if self._state.config.updates_per_batch == 1:
            # PPO's ratio is 1 and nothing is clipped.
            return None
        if not self.responses.off_policy:
            return self.responses.sampling_logprobs(part).to(self._state.world.device)
        # The student's log-probabilities before the batch's first update come from its own forward in that update.
        first = self._first.get(part.start)
        return None if first is None else first[0].student_BR

    def _sampler_logprobs(self, part: slice) -> SamplerLogprobs | None:
        correction = self._state.config.correction
        if not self.responses.off_policy or correction.type == "none":
            return None
        return SamplerLogprobs(self.responses.sampling_logprobs(part).to(self._state.world.device), correction.cap)

    def _scores_of(self, teacher: AnyTeacher, part: slice) -> TeacherScores:
        """Return the teacher's scores of some rows. All updates on the batch use the same."""
        known = self._teacher_scores.get(part.start)
        if known is not None:
            return known
        prompts = [row.teacher for row in self.responses.rows[part]]
        if isinstance(teacher, ModelTeacher):
            scores = self._teacher_forward(teacher, prompts, part)
        else:
            scores = TeacherScores(teacher.logprobs(prompts, self.responses.ids[part]))
        scores = scores.to(self._state.world.device)
        # With one update a batch nothing reads them again, and they may be as large as the activations.
        if self._state.config.updates_per_batch > 1:
            self._teacher_scores[part.start] = scores
        return scores

    def _teacher_forward(self, teacher: ModelTeacher, prompts: Sequence[Prompt], part: slice) -> TeacherScores:
        device = self._state.world.teacher_device
        batch, forbidden = self._collate(prompts, part, device), self._forbidden.to(device)
        with teacher.scoring():
            return teacher.parallel.run(
                lambda: teacher_scores(
                    self._objective, response_states(teacher.model, batch, self._teacher_features), forbidden
                )
            )

    def _collate(self, prompts: Sequence[Prompt], part: slice, device: torch.device) -> Batch:
        return self._state.chat.collate(prompts, self.responses.ids[part], device=str(device))
