"""The objective that the settings name, applied to the states of student and teacher: each gets what it needs of the vocabulary alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vicur.config.objective import K1, K3, ForwardKl, Grpo, Jsd, ObjectiveConfig, ReverseKl, Supervised, TopkForwardKl
from vicur.modeling.divergence import weighted_divergence
from vicur.modeling.scoring import ResponseStates
from vicur.modeling.token_logprobs import TopTokens, token_logprobs, top_tokens
from vicur.training.objectives import (
    Divergence,
    advantages,
    clipped_policy_loss,
    clipped_share,
    forward_kl,
    jsd,
    k1_loss,
    k3_loss,
    reverse_kl,
    topk_forward_kl,
    truncated_ratios,
    weighted_sum,
)


@dataclass(frozen=True, eq=False)
class TeacherScores:
    """What an objective takes from the teacher, without gradient.

    Attributes:
        logprobs_N: log-probabilities of the sampled tokens, where the objective is told them beforehand.
        top: the likeliest tokens, for a top-k objective.
        states: states of the responses, for a divergence over the vocabulary.
    """

    logprobs_N: Tensor | None = None
    top: TopTokens | None = None
    states: ResponseStates | None = None

    def to(self, device: torch.device) -> TeacherScores:
        """The same on another device: the student's, where the teacher has its own."""
        return TeacherScores(
            None if self.logprobs_N is None else self.logprobs_N.to(device),
            None if self.top is None else self.top.to(device),
            None if self.states is None else self.states.to(device),
        )


@dataclass(frozen=True, eq=False)
class EngineLogprobs:
    """What another engine than the trainer drew tokens with.

    Attributes:
        logprobs_BR: its log-probabilities, zero at padding.
        cap: largest weight of a token.
    """

    logprobs_BR: Tensor
    cap: float


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of some responses and the scores that it was taken from.

    Attributes:
        value: the loss, with its graph: the part of the batch's loss that falls to these responses.
        student_BR: the student's log-probabilities of the tokens, without graph, zero at padding.
        teacher_BR: the teacher's, where the objective has one.
        entropy_BR: entropies of the student's distributions, in nats.
        told: shares of what was clamped or clipped.
    """

    value: Tensor
    student_BR: Tensor
    teacher_BR: Tensor | None
    entropy_BR: Tensor
    told: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def teaching(objective: ObjectiveConfig, teacher: ResponseStates, forbidden: Tensor) -> TeacherScores:
    """What ``objective`` takes from the teacher.

    Args:
        objective: what is minimised.
        teacher: the teacher's states of the responses.
        forbidden: ids that have no probability, sorted.

    Raises:
        VicurError: where a top-k objective asks for more tokens than the vocabulary has.
    """
    if isinstance(objective, ForwardKl | ReverseKl | Jsd):
        return TeacherScores(states=teacher)
    arguments = teacher.hidden_NH, teacher.head_VH, teacher.targets_N[:, None], forbidden
    if isinstance(objective, TopkForwardKl):
        top, logprobs_N1 = top_tokens(*arguments, objective.k)
        return TeacherScores(logprobs_N1[:, 0], top=top)
    return TeacherScores(token_logprobs(*arguments)[0][:, 0])


def objective_loss(
    objective: ObjectiveConfig,
    student: ResponseStates,
    weights_BR: Tensor,
    forbidden: Tensor,
    *,
    taught: TeacherScores | None = None,
    advantages_B: Tensor | None = None,
    old_BR: Tensor | None = None,
    clipped: bool = False,
    drawn: EngineLogprobs | None = None,
) -> Loss:
    """The loss of some responses.

    Args:
        objective: what is minimised.
        student: the student's states of the responses, with their graph.
        weights_BR: weights of the tokens, from :func:`~vicur.training.objectives.token_weights`.
        forbidden: ids that have no probability, sorted.
        taught: the teacher's part, for objectives that distil.
        advantages_B: advantage of each response, for ``grpo``.
        old_BR: log-probabilities of the tokens before the first update on them, where the batch serves several.
        clipped: whether the PPO ratio is clipped; without ``old_BR`` it is 1.
        drawn: what another engine drew them with, for policy gradients that correct for it.
    """
    mask_BR, weights_N = student.mask_BR, weights_BR[student.mask_BR]
    if isinstance(objective, ForwardKl | ReverseKl | Jsd):
        assert taught is not None
        assert taught.states is not None
        found = weighted_divergence(student, taught.states, _divergence(objective), weights_N, forbidden)
        return _loss(student, found.loss, found.student_N, found.teacher_N, found.entropy_N)
    ids_NK = student.targets_N[:, None]
    if taught is not None and taught.top is not None:
        ids_NK = torch.cat([ids_NK, taught.top.ids_NK], dim=1)
    student_NK, entropy_N = token_logprobs(student.hidden_NH, student.head_VH, ids_NK, forbidden)
    student_N = student_NK[:, 0]
    old_N = old_BR[mask_BR] if old_BR is not None else student_N.detach() if clipped else None
    if isinstance(objective, Supervised):
        return _loss(student, -weighted_sum(student_N, weights_N), student_N, None, entropy_N)
    corrected: dict[str, float] = {}
    if drawn is not None:
        weights_N, corrected = _corrected(drawn, mask_BR, student_N if old_N is None else old_N, weights_N)
    if isinstance(objective, Grpo):
        assert advantages_B is not None
        advantages_N = advantages_B[:, None].expand(mask_BR.shape)[mask_BR]
        loss, told = _policy_gradient(objective, advantages_N, student_N, weights_N, old_N)
        return _loss(student, loss, student_N, None, entropy_N, told | corrected)
    assert taught is not None
    assert taught.logprobs_N is not None
    told = {}
    if isinstance(objective, TopkForwardKl):
        assert taught.top is not None
        loss = weighted_sum(topk_forward_kl(student_NK[:, 1:], taught.top.logprobs_NK), weights_N)
    elif isinstance(objective, K3):
        loss = k3_loss(taught.logprobs_N, student_N, weights_N, clamp=objective.clamp)
    else:
        gap_N = advantages(taught.logprobs_N, student_N if old_N is None else old_N, objective.clamp)
        loss, told = _policy_gradient(objective, gap_N, student_N, weights_N, old_N)
        told = {"clip/advantage": float((gap_N.abs() >= objective.clamp).float().mean()), **told}
    return _loss(student, loss, student_N, taught.logprobs_N, entropy_N, told | corrected)


def _corrected(
    drawn: EngineLogprobs, mask_BR: Tensor, before_N: Tensor, weights_N: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Weights of tokens that another engine drew, times the ratio of the trainer's probability to its."""
    ratios_N = truncated_ratios(before_N, drawn.logprobs_BR[mask_BR], cap=drawn.cap)
    told = {"rollout/importance": ratios_N.mean(), "rollout/truncated_share": (ratios_N >= drawn.cap).float().mean()}
    return weights_N * ratios_N, {name: float(value) for name, value in told.items()}


def _policy_gradient(
    objective: K1 | Grpo, advantages_N: Tensor, student_N: Tensor, weights_N: Tensor, old_N: Tensor | None
) -> tuple[Tensor, dict[str, float]]:
    """With one update a batch the ratio is 1: nothing is clipped, and nobody is asked for old log-probabilities."""
    if old_N is None:
        return k1_loss(advantages_N, student_N, weights_N), {}
    loss = clipped_policy_loss(advantages_N, student_N, weights_N, old=old_N, clip=objective.clip)
    return loss, {"clip/ratio": float(clipped_share(advantages_N, student_N, old=old_N, clip=objective.clip))}


def _divergence(objective: ForwardKl | ReverseKl | Jsd) -> Divergence:
    if isinstance(objective, Jsd):
        return jsd(objective.beta)
    return forward_kl if isinstance(objective, ForwardKl) else reverse_kl


def _loss(
    states: ResponseStates,
    value: Tensor,
    student_N: Tensor,
    teacher_N: Tensor | None,
    entropy_N: Tensor,
    told: dict[str, float] | None = None,
) -> Loss:
    teacher_BR = None if teacher_N is None else states.padded(teacher_N)
    return Loss(value, states.padded(student_N.detach()), teacher_BR, states.padded(entropy_N), told or {})
