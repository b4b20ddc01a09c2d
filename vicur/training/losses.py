"""The loss of an objective, from the states of student and teacher: each objective gets what it needs of the vocabulary, and no more."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vicur.config.objective import K1, K3, ForwardKl, Jsd, Objective, ReverseKl, TopkForwardKl
from vicur.modeling.divergence import weighted_divergence
from vicur.modeling.scoring import ResponseStates
from vicur.modeling.token_logprobs import token_logprobs, top_tokens
from vicur.training.objectives import (
    Divergence,
    advantages,
    forward_kl,
    jsd,
    k1_loss,
    k3_loss,
    reverse_kl,
    topk_forward_kl,
    weighted_sum,
)


@dataclass(frozen=True, eq=False)
class Distillation:
    """The loss of a batch, with its graph, and the scores that it was taken from, without.

    Attributes:
        loss: weighted sum over the tokens.
        student_BR: the student's log-probabilities of the sampled tokens, zero at padding.
        teacher_BR: the teacher's.
        entropy_BR: entropies of the student's distributions, in nats.
    """

    loss: Tensor
    student_BR: Tensor
    teacher_BR: Tensor
    entropy_BR: Tensor


def distillation_loss(
    objective: Objective,
    student: ResponseStates,
    teacher: ResponseStates,
    weights_BR: Tensor,
    forbidden: Tensor,
    *,
    old_BR: Tensor | None = None,
) -> Distillation:
    """The loss of ``objective``.

    Args:
        objective: what to minimise.
        student: the student's states of the responses, with their graph.
        teacher: the teacher's states of the same responses.
        weights_BR: weights of the tokens.
        forbidden: ids that have no probability, sorted.
        old_BR: the student's log-probabilities in the first update on this batch, in a later one; only k1 asks for them.

    Raises:
        VicurError: where a top-k objective asks for more tokens than the vocabulary has.
    """
    weights_N = weights_BR[student.mask_BR]
    targets_N1 = student.targets_N[:, None]
    if isinstance(objective, ForwardKl | ReverseKl | Jsd):
        found = weighted_divergence(student, teacher, _divergence(objective), weights_N, forbidden)
        return _distillation(student, found.loss, found.student_N, found.teacher_N, found.entropy_N)
    if isinstance(objective, TopkForwardKl):
        top, teacher_N1 = top_tokens(teacher.hidden_NH, teacher.head_VH, targets_N1, forbidden, objective.k)
        ids_NK = torch.cat([targets_N1, top.ids_NK], dim=1)
        student_NK, entropy_N = token_logprobs(student.hidden_NH, student.head_VH, ids_NK, forbidden)
        loss = weighted_sum(topk_forward_kl(student_NK[:, 1:], top.logprobs_NK), weights_N)
        return _distillation(student, loss, student_NK[:, 0], teacher_N1[:, 0], entropy_N)
    with torch.no_grad():
        teacher_N = token_logprobs(teacher.hidden_NH, teacher.head_VH, targets_N1, forbidden)[0][:, 0]
    student_N1, entropy_N = token_logprobs(student.hidden_NH, student.head_VH, targets_N1, forbidden)
    student_N = student_N1[:, 0]
    loss = _sampled_loss(
        objective, student_N, teacher_N, weights_N, None if old_BR is None else old_BR[student.mask_BR]
    )
    return _distillation(student, loss, student_N, teacher_N, entropy_N)


def _divergence(objective: ForwardKl | ReverseKl | Jsd) -> Divergence:
    if isinstance(objective, Jsd):
        return jsd(objective.beta)
    return forward_kl if isinstance(objective, ForwardKl) else reverse_kl


def _sampled_loss(
    objective: K1 | K3, student_N: Tensor, teacher_N: Tensor, weights_N: Tensor, old_N: Tensor | None
) -> Tensor:
    if isinstance(objective, K3):
        return k3_loss(teacher_N, student_N, weights_N, clamp=objective.clamp)
    # A later update keeps the advantages of the first.
    reference_N = student_N if old_N is None else old_N
    advantages_N = advantages(teacher_N, reference_N, objective.clamp)
    return k1_loss(advantages_N, student_N, weights_N, old=old_N, clip=objective.ppo_clip)


def _distillation(
    states: ResponseStates, loss: Tensor, student_N: Tensor, teacher_N: Tensor, entropy_N: Tensor
) -> Distillation:
    padded = (states.padded(values_N.detach()) for values_N in (student_N, teacher_N, entropy_N))
    return Distillation(loss, *padded)
