"""Divergences between the student's and the teacher's distribution of the next token.

Divergences over the whole vocabulary are functions of its entries, so that they can be summed tile by tile. Let D(p) be a divergence as
a function of the student's probabilities p = softmax(z). Then dD/dz_v = p_v (dD/dp_v - sum_u p_u dD/dp_u). So each function returns the
terms of D and the *pull* p_v dD/dp_v, and the gradient of D in the student's logits is pull_v - p_v sum_u pull_u. The caller needs p for
that and passes it along with the log-probabilities.

Log-probabilities must be finite. Masked tokens have the same very low value in both and contribute exactly nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vicur.config.objective import ForwardKl, Jsd, ReverseKl, TopkForwardKl
from vicur.modeling.tiles import exponential
from vicur.training.objectives.reduction import weighted_sum
from vicur.training.objectives.registry import Divergence, LossAndMetrics, TokenScores, divergence, token_loss


def forward_kl(student_NV: Tensor, teacher_NV: Tensor, _probability_NV: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p_T || p_theta) = sum_v p_T(v) (log p_T(v) - log p_theta(v)).

    The paper's full-vocabulary objective. Its gradient in the logits is p_theta - p_T. It is large even if p_theta of the teacher's token
    is tiny, so a confidently wrong student is corrected at once; the reverse KL's gradient vanishes with p_theta.
    """
    target_NV = exponential(teacher_NV)
    return (teacher_NV - student_NV) * target_NV, -target_NV


def reverse_kl(student_NV: Tensor, teacher_NV: Tensor, probability_NV: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p_theta || p_T) = sum_v p_theta(v) (log p_theta(v) - log p_T(v)).

    What k1 estimates from the sampled token, summed over the vocabulary: the same expected gradient at each prefix, without the variance
    of the sample (measured by ``benchmarks/objective_noise.py``). Terms and pull are the same tensor.
    """
    # dD/dp_v is the log-ratio plus 1. The 1 cancels in the gradient.
    terms_NV = (student_NV - teacher_NV) * probability_NV
    return terms_NV, terms_NV


def jsd(beta: float) -> Divergence:
    """beta KL(p_T || m) + (1 - beta) KL(p_theta || m), m = beta p_T + (1 - beta) p_theta.

    The generalised Jensen-Shannon divergence of GKD (arXiv 2306.13649, equation 1). Divided by beta it tends to the forward KL as
    beta -> 0, and divided by 1 - beta to the reverse KL as beta -> 1.
    """

    def terms_and_pull(student_NV: Tensor, teacher_NV: Tensor, probability_NV: Tensor) -> tuple[Tensor, Tensor]:
        mixed_NV = torch.logaddexp(teacher_NV + math.log(beta), student_NV + math.log1p(-beta))
        pull_NV = (1 - beta) * probability_NV * (student_NV - mixed_NV)
        return beta * exponential(teacher_NV) * (teacher_NV - mixed_NV) + pull_NV, pull_NV

    return terms_and_pull


def topk_forward_kl(student_NK: Tensor, teacher_NK: Tensor) -> Tensor:
    """sum_k p_T(k) (log p_T(k) - log p_theta(k)) + t_T (log t_T - log t_theta), with the tails t = 1 - sum_k p(k).

    The forward KL after merging all but the teacher's K most likely tokens into one bucket. It is at most the forward KL, zero for equal
    distributions, and does not depend on how the student's probability is distributed within the bucket.
    """
    teacher_NK = teacher_NK.detach()
    tail_N = _log_tail(teacher_NK)
    inside_N = (teacher_NK.exp() * (teacher_NK - student_NK)).sum(-1)
    return inside_N + tail_N.exp() * (tail_N - _log_tail(student_NK))


def _log_tail(logprobs_NK: Tensor) -> Tensor:
    """log(1 - sum_k p_k) [N]."""
    # Rounding can make the sum 1 or more. The smallest representable tail keeps the logarithm finite.
    least = torch.finfo(logprobs_NK.dtype).eps
    return torch.log(-torch.expm1(logprobs_NK.logsumexp(-1).clamp(max=-least)))


@divergence(ForwardKl)
def _forward_kl(_objective: ForwardKl) -> Divergence:
    return forward_kl


@divergence(ReverseKl)
def _reverse_kl(_objective: ReverseKl) -> Divergence:
    return reverse_kl


@divergence(Jsd)
def _jsd(objective: Jsd) -> Divergence:
    return jsd(objective.beta)


@token_loss(TopkForwardKl)
def _topk_forward_kl(_objective: TopkForwardKl, scores: TokenScores) -> LossAndMetrics:
    assert scores.student_NK is not None
    assert scores.teacher_NK is not None
    return weighted_sum(topk_forward_kl(scores.student_NK, scores.teacher_NK), scores.weights_N), {}
