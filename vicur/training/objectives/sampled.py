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


def k1_loss(advantages: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """L = - sum_n w_n sg[A_n] log p_theta(y_n | X, y_<n), the paper's objective.

    In the only update on a batch the importance ratio is 1 and clipping never acts, so there is neither here, and no forward for old
    log-probabilities: the gradient is that of :func:`clipped_policy_loss`, which several updates on one batch take instead.

    Args:
        advantages: advantages of the sampled tokens.
        student: the student's log-probabilities of them, with their graph.
        weights: weights of the tokens.
    """
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
    plain, held = _surrogates(advantages, student, old, clip)
    return -weighted_sum(torch.minimum(plain, held), weights)


def clipped_share(advantages: Tensor, student: Tensor, *, old: Tensor, clip: float) -> Tensor:
    """Share of the tokens that :func:`clipped_policy_loss` clips, and which so have no gradient."""
    plain, held = _surrogates(advantages, student.detach(), old, clip)
    return (held < plain).float().mean()


def _surrogates(advantages: Tensor, student: Tensor, old: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    advantages, ratios = advantages.detach(), (student - old.detach()).exp()
    return ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages


def truncated_ratios(trainer: Tensor, engine: Tensor, *, cap: float) -> Tensor:
    """c_n = min( p(y_n) / q(y_n), cap ), without gradient: the weights of tokens that q drew in an expectation over p.

    Truncated importance sampling (Ionides 2008, doi 10.1198/106186008X320456): without the cap the mean of c_n f(y_n) has no bias, and may
    have any variance. As a factor of a token's term in :func:`k1_loss` or :func:`clipped_policy_loss` it leaves the ratio of new and old
    weights alone, which is the trainer's own (decoupled PPO, arXiv 2110.00641, section 3).

    Args:
        trainer: log p, of the model that is trained before the first update on the tokens.
        engine: log q, of the engine that drew them.
        cap: largest ratio.
    """
    return (trainer - engine).detach().exp().clamp(max=cap)


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


def group_advantages(rewards_GN: Tensor, *, scale: bool = True) -> Tensor:
    """A_gn = (r_gn - mean_n r_gn) / (std_n r_gn + 1e-6): how much better a response is than the others to its prompt.

    GRPO's outcome advantages (arXiv 2402.03300, section 4.1.2); its objective, equation 3 with a KL weight of zero, is
    :func:`clipped_policy_loss` with a response's advantage at each of its tokens. A group whose rewards are all equal teaches nothing.

    Args:
        rewards_GN: rewards of N >= 2 responses to each of G prompts.
        scale: whether to divide by the group's standard deviation (of a sample: N - 1).

    Returns:
        Advantages of the responses [G, N].
    """
    centred_GN = rewards_GN - rewards_GN.mean(dim=-1, keepdim=True)
    return centred_GN / (rewards_GN.std(dim=-1, keepdim=True) + _LEAST_DEVIATION) if scale else centred_GN
