"""Objectives that use only the log-probabilities of the sampled tokens.

Log-probabilities, advantages and weights are tensors of one shape, padded [B, R] or packed [N]; log-probabilities are in nats and finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.config.objective import K1, K2, K3, Abs, Grpo, Mse, Supervised
from vicur.training.objectives.reduction import weighted_sum
from vicur.training.objectives.registry import LossAndMetrics, TokenScores, token_loss

# Keeps the advantages of a group finite if its rewards hardly differ.
_LEAST_DEVIATION = 1e-6


def advantages(teacher: Tensor, student: Tensor, clamp: float) -> Tensor:
    """A_n = log p_T(y_n | X, S, y_<n) - log p_theta(y_n | X, y_<n), clamped to [-clamp, clamp], without gradient.

    Minus the k1 estimate of the reverse KL between student and teacher at each token (paper, section "Objective").
    """
    return (teacher - student).detach().clamp(-clamp, clamp)


def k1_loss(advantages: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """L = - sum_n w_n sg[A_n] log p_theta(y_n | X, y_<n), the paper's objective.

    If a batch serves one update, the importance ratio is 1 and clipping never acts. The gradient is then that of
    :func:`clipped_policy_loss`, without a forward for old log-probabilities.
    """
    return -weighted_sum(advantages.detach() * student, weights)


def clipped_policy_loss(advantages: Tensor, student: Tensor, weights: Tensor, *, old: Tensor, clip: float) -> Tensor:
    """L = - sum_n w_n min( r_n A_n, clip(r_n, 1 - clip, 1 + clip) A_n ), r_n = p_theta(y_n) / p_old(y_n).

    PPO's surrogate (arXiv 1707.06347, equation 7). ``old`` are log-probabilities under the weights that sampled the tokens.
    """
    plain, clipped = _surrogates(advantages, student, old, clip)
    return -weighted_sum(torch.minimum(plain, clipped), weights)


def clipped_share(advantages: Tensor, student: Tensor, *, old: Tensor, clip: float) -> Tensor:
    """Return the share of tokens that :func:`clipped_policy_loss` clips, and that therefore have no gradient."""
    plain, clipped = _surrogates(advantages, student.detach(), old, clip)
    return (clipped < plain).float().mean()


def _surrogates(advantages: Tensor, student: Tensor, old: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    advantages, ratios = advantages.detach(), (student - old.detach()).exp()
    return ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages


def truncated_ratios(trainer: Tensor, sampler: Tensor, *, cap: float) -> Tensor:
    """c_n = min( p(y_n) / q(y_n), cap ), without gradient: the weights of tokens sampled from q in an expectation over p.

    Truncated importance sampling (Ionides 2008, doi 10.1198/106186008X320456): without the cap the mean of c_n f(y_n) is unbiased but its
    variance is unbounded. q is another engine (TIS, openreview.net/forum?id=xsonlP8DRV) or earlier weights (rho of IMPALA, arXiv
    1802.01561, equation 1). As a factor of a term in :func:`k1_loss` or :func:`clipped_policy_loss` it does not change PPO's ratio of
    new and old weights, both of which are the trainer's (decoupled PPO, arXiv 2110.00641, section 3). ``trainer`` is log p before the first
    update on the tokens, ``sampler`` log q.
    """
    return (trainer - sampler).detach().exp().clamp(max=cap)


def k2_loss(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """L = sum_n w_n (log r_n)^2 / 2, r_n = p_T(y_n | X, S, y_<n) / p_theta(y_n | X, y_<n).

    Schulman's k2 (joschu.net/blog/kl-approx.html): a biased estimate of the reverse KL with little variance. Its gradient is that of
    :func:`k1_loss` with advantages that are not clamped, so differentiated on policy it is that of the reverse KL, in expectation.
    """
    return weighted_sum((teacher.detach() - student).square() / 2, weights)


def abs_loss(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """L = sum_n w_n |log p_theta(y_n | X, y_<n) - log p_T(y_n | X, S, y_<n)|.

    verl's estimator ``abs`` (``core_algos.kl_penalty``), from TRL's PPO. The gradient of a token is the sign of its log-ratio, whatever its
    size, and zero where both agree.
    """
    return weighted_sum((student - teacher.detach()).abs(), weights)


def mse_loss(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """L = sum_n w_n (log p_theta(y_n | X, y_<n) - log p_T(y_n | X, S, y_<n))^2 / 2.

    verl's estimator ``mse`` (``core_algos.kl_penalty``), from TRL's PPO, which is :func:`k2_loss` under another name.
    """
    return k2_loss(teacher, student, weights)


def k3_loss(teacher: Tensor, student: Tensor, weights: Tensor, *, clamp: float) -> Tensor:
    """L = sum_n w_n ( r_n - 1 - log r_n ), r_n = p_T(y_n | X, S, y_<n) / p_theta(y_n | X, y_<n), |log r_n| <= clamp.

    Schulman's k3 (joschu.net/blog/kl-approx.html): an unbiased estimate of the reverse KL that is never negative. Differentiated
    directly, as here, its expected gradient is however that of the *forward* KL (arXiv 2506.09477). A token beyond the clamp has no
    gradient.
    """
    ratios = (teacher.detach() - student).clamp(-clamp, clamp)
    return weighted_sum(ratios.expm1() - ratios, weights)


def group_advantages(rewards_GN: Tensor, *, scale: bool = True) -> Tensor:
    """A_gn = (r_gn - mean_n r_gn) / (std_n r_gn + 1e-6): how much better a response is than the others in its group.

    GRPO's outcome advantages (arXiv 2402.03300, section 4.1.2); its objective, equation 3 with a KL weight of zero, is
    :func:`clipped_policy_loss` with a response's advantage at each of its tokens. A group whose rewards are all equal has no gradient.

    Args:
        rewards_GN: rewards of N >= 2 responses to each of G prompts.
        scale: whether to divide by the group's sample standard deviation (with N - 1).
    """
    centred_GN = rewards_GN - rewards_GN.mean(dim=-1, keepdim=True)
    return centred_GN / (rewards_GN.std(dim=-1, keepdim=True) + _LEAST_DEVIATION) if scale else centred_GN


def policy_gradient(advantages_N: Tensor, scores: TokenScores, clip: float) -> LossAndMetrics:
    """Return :func:`k1_loss` if a batch serves one update, otherwise :func:`clipped_policy_loss` and the share of clipped tokens."""
    student_N, weights_N, old_N = scores.student_N, scores.weights_N, scores.old_N
    if old_N is None:
        return k1_loss(advantages_N, student_N, weights_N), {}
    loss = clipped_policy_loss(advantages_N, student_N, weights_N, old=old_N, clip=clip)
    return loss, {"clip/ratio": float(clipped_share(advantages_N, student_N, old=old_N, clip=clip))}


@token_loss(K1)
def _k1(objective: K1, scores: TokenScores) -> LossAndMetrics:
    assert scores.teacher_N is not None
    # Later updates on a batch keep the advantages of the policy that sampled it.
    before_N = scores.student_N if scores.old_N is None else scores.old_N
    advantages_N = advantages(scores.teacher_N, before_N, objective.clamp)
    loss, metrics = policy_gradient(advantages_N, scores, objective.clip)
    return loss, {"clip/advantage": float((advantages_N.abs() >= objective.clamp).float().mean()), **metrics}


@token_loss(K2)
def _k2(_objective: K2, scores: TokenScores) -> LossAndMetrics:
    assert scores.teacher_N is not None
    return k2_loss(scores.teacher_N, scores.student_N, scores.weights_N), {}


@token_loss(Abs)
def _abs(_objective: Abs, scores: TokenScores) -> LossAndMetrics:
    assert scores.teacher_N is not None
    return abs_loss(scores.teacher_N, scores.student_N, scores.weights_N), {}


@token_loss(Mse)
def _mse(_objective: Mse, scores: TokenScores) -> LossAndMetrics:
    assert scores.teacher_N is not None
    return mse_loss(scores.teacher_N, scores.student_N, scores.weights_N), {}


@token_loss(K3)
def _k3(objective: K3, scores: TokenScores) -> LossAndMetrics:
    assert scores.teacher_N is not None
    return k3_loss(scores.teacher_N, scores.student_N, scores.weights_N, clamp=objective.clamp), {}


@token_loss(Grpo)
def _grpo(objective: Grpo, scores: TokenScores) -> LossAndMetrics:
    assert scores.advantages_N is not None
    return policy_gradient(scores.advantages_N, scores, objective.clip)


@token_loss(Supervised)
def _supervised(_objective: Supervised, scores: TokenScores) -> LossAndMetrics:
    return -weighted_sum(scores.student_N, scores.weights_N), {}
