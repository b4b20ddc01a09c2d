"""Objectives that see of each distribution only the log-probability of the token that was sampled.

Log-probabilities, advantages and weights are tensors of one shape, padded [B, R] or packed [N]; log-probabilities are in nats and finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.training.objectives.reduction import weighted_sum

# Keeps the advantages of a group finite where its rewards hardly differ.
_LEAST_DEVIATION = 1e-6


def advantages(teacher: Tensor, student: Tensor, clamp: float) -> Tensor:
    """A_n = log p_T(y_n | X, S, y_<n) - log p_theta(y_n | X, y_<n), clamped to [-clamp, clamp], without gradient.

    Minus the k1 estimate of the reverse KL of student and teacher at each token (paper, section "Objective").

    Args:
        teacher: the teacher's log-probabilities of the sampled tokens.
        student: the student's.
        clamp: bound, in nats.
    """
    return (teacher - student).detach().clamp(-clamp, clamp)


def k1_loss(
    advantages: Tensor, student: Tensor, weights: Tensor, *, old: Tensor | None = None, clip: float = 0.2
) -> Tensor:
    """L = - sum_n w_n sg[A_n] log p_theta(y_n | X, y_<n), the paper's objective.

    In the only, or first, update on a batch the importance ratio is 1 and clipping never acts, so there is neither here and no forward
    for old log-probabilities. Later updates on the same batch pass what the first one scored: see :func:`clipped_policy_loss`.

    Args:
        advantages: advantages of the sampled tokens.
        student: the student's log-probabilities of them, with their graph.
        weights: weights of the tokens.
        old: the student's log-probabilities in the first update on this batch, in a later one.
        clip: PPO's clip range, used with ``old``.
    """
    if old is not None:
        return clipped_policy_loss(advantages, student, weights, old=old, clip=clip)
    return -weighted_sum(advantages.detach() * student, weights)


def clipped_policy_loss(advantages: Tensor, student: Tensor, weights: Tensor, *, old: Tensor, clip: float) -> Tensor:
    """L = - sum_n w_n min( r_n A_n, clip(r_n, 1 - clip, 1 + clip) A_n ), r_n = p_theta(y_n) / p_old(y_n).

    PPO's surrogate (arXiv 1707.06347, equation 7).

    Args:
        advantages: advantages of the sampled tokens.
        student: the student's log-probabilities of them, with their graph.
        weights: weights of the tokens.
        old: log-probabilities of them under the weights that sampled them.
        clip: how far the ratio may stray from 1.
    """
    advantages = advantages.detach()
    ratios = (student - old.detach()).exp()
    return -weighted_sum(torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages), weights)


def k3_loss(teacher: Tensor, student: Tensor, weights: Tensor, *, clamp: float) -> Tensor:
    """L = sum_n w_n ( r_n - 1 - log r_n ), r_n = p_T(y_n | X, S, y_<n) / p_theta(y_n | X, y_<n), |log r_n| <= clamp.

    Schulman's k3 (joschu.net/blog/kl-approx.html): of the reverse KL an estimate without bias, and never negative. Differentiated as
    it stands, as here, its expected gradient is however that of the *forward* KL (arXiv 2506.09477).

    Args:
        teacher: the teacher's log-probabilities of the sampled tokens.
        student: the student's, with their graph.
        weights: weights of the tokens.
        clamp: bound of the log-ratio, in nats; a token beyond it has no gradient.
    """
    ratios = (teacher.detach() - student).clamp(-clamp, clamp)
    return weighted_sum(ratios.expm1() - ratios, weights)


def group_advantages(rewards_QK: Tensor) -> Tensor:
    """A_i = (r_i - mean(r)) / std(r) over the K responses to one question (GRPO, arXiv 2402.03300, section 4.1.2).

    The deviation is that of a sample. A group whose rewards are all equal teaches nothing: its advantages are zero.

    Args:
        rewards_QK: rewards of K >= 2 responses to each of Q questions.

    Returns:
        Advantages of the responses [Q, K].
    """
    centred_QK = rewards_QK - rewards_QK.mean(-1, keepdim=True)
    return centred_QK / (rewards_QK.std(-1, keepdim=True) + _LEAST_DEVIATION)


def grpo_loss(
    advantages_B: Tensor, student_BR: Tensor, weights_BR: Tensor, *, old_BR: Tensor | None = None, clip: float = 0.2
) -> Tensor:
    """GRPO's objective (arXiv 2402.03300, equation 3) with its KL weight at zero: each token has the advantage of its response.

    Args:
        advantages_B: advantages of the responses, from :func:`group_advantages`.
        student_BR: the student's log-probabilities of their tokens, with their graph.
        weights_BR: weights of the tokens.
        old_BR: the student's log-probabilities in the first update on this batch, in a later one; left out, the ratio is 1.
        clip: PPO's clip range.
    """
    old_BR = student_BR if old_BR is None else old_BR
    return clipped_policy_loss(advantages_B[:, None], student_BR, weights_BR, old=old_BR, clip=clip)
