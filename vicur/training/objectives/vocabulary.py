"""Divergences of the student's and the teacher's distribution of the next token.

Those over the whole vocabulary are written as terms of its entries, so that they can be summed tile by tile. Let D(p) be a divergence as
a function of the student's probabilities p = softmax(z). Then dD/dz_v = p_v (dD/dp_v - sum_u p_u dD/dp_u). So each function returns the
terms of D and the *pull* p_v dD/dp_v, and the gradient of D in the student's logits is pull_v - p_v sum_u pull_u. Whoever sums needs p for
that, and so hands it over beside the log-probabilities.

Log-probabilities must be finite: where both stand for "never" they are equal and very low, and contribute exactly nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vicur.modeling.tiles import exponential

Divergence = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(student_NV, teacher_NV, probability_NV) -> (terms_NV, pull_NV): both log-probabilities and the student's probabilities to the terms of a
divergence and its pull."""


def forward_kl(student_NV: Tensor, teacher_NV: Tensor, _probability_NV: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p_T || p_theta) = sum_v p_T(v) (log p_T(v) - log p_theta(v)).

    The paper's full-vocabulary objective. Its gradient in the logits is p_theta - p_T, however little the student thinks of a token that
    the teacher wants: a student that is sure of something wrong is moved at once, where the reverse KL's gradient vanishes with p_theta.

    Args:
        student_NV: log p_theta.
        teacher_NV: log p_T.

    Returns:
        Terms and pull, both [N, V].
    """
    wanted_NV = exponential(teacher_NV)
    return (teacher_NV - student_NV) * wanted_NV, -wanted_NV


def reverse_kl(student_NV: Tensor, teacher_NV: Tensor, probability_NV: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p_theta || p_T) = sum_v p_theta(v) (log p_theta(v) - log p_T(v)).

    What k1 estimates from the one token that was sampled, summed over the vocabulary: the same expected gradient at each prefix,
    without that draw's variance (``benchmarks/objective_noise.py`` measures how much that is).

    Args:
        student_NV: log p_theta.
        teacher_NV: log p_T.
        probability_NV: p_theta.

    Returns:
        Terms and pull, both [N, V]; here they are one tensor.
    """
    # dD/dp_v has a summand 1 beside the log-ratio, which the gradient cancels.
    terms_NV = (student_NV - teacher_NV) * probability_NV
    return terms_NV, terms_NV


def jsd(beta: float) -> Divergence:
    """beta KL(p_T || m) + (1 - beta) KL(p_theta || m), m = beta p_T + (1 - beta) p_theta.

    The generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649, equation 1). Divided by beta it tends to the forward KL as
    beta -> 0, and divided by 1 - beta to the reverse KL as beta -> 1.

    Args:
        beta: share of the teacher in the mixture, between 0 and 1.

    Returns:
        The divergence.
    """

    def terms_and_pull(student_NV: Tensor, teacher_NV: Tensor, probability_NV: Tensor) -> tuple[Tensor, Tensor]:
        mixed_NV = torch.logaddexp(teacher_NV + math.log(beta), student_NV + math.log1p(-beta))
        pull_NV = (1 - beta) * probability_NV * (student_NV - mixed_NV)
        return beta * exponential(teacher_NV) * (teacher_NV - mixed_NV) + pull_NV, pull_NV

    return terms_and_pull


def topk_forward_kl(student_NK: Tensor, teacher_NK: Tensor) -> Tensor:
    """sum_k p_T(k) (log p_T(k) - log p_theta(k)) + t_T (log t_T - log t_theta), with the tails t = 1 - sum_k p(k).

    The forward KL of the distributions that result where all but the teacher's K likeliest tokens are put into one bucket: at most
    the forward KL (merging loses), zero for equals, and blind to how the student spreads what it has outside.

    Args:
        student_NK: the student's log-probabilities of the teacher's K likeliest tokens, with their graph.
        teacher_NK: the teacher's.

    Returns:
        The divergence at each token [N].
    """
    teacher_NK = teacher_NK.detach()
    tail_N = _log_tail(teacher_NK)
    inside_N = (teacher_NK.exp() * (teacher_NK - student_NK)).sum(-1)
    return inside_N + tail_N.exp() * (tail_N - _log_tail(student_NK))


def _log_tail(logprobs_NK: Tensor) -> Tensor:
    """log(1 - sum_k p_k) [N]. A tail that rounding has taken for empty, or less, counts as the least that can be told from empty."""
    least = torch.finfo(logprobs_NK.dtype).eps
    return torch.log(-torch.expm1(logprobs_NK.logsumexp(-1).clamp(max=-least)))
