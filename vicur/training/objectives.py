"""Training objectives: pure functions over the scores of sampled responses.

Notation of the paper (arXiv 2606.05718): X is image and question, S the privilege, y a response that the student sampled.
Every objective is a mean over responses of the mean over their tokens; a response without tokens counts as zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Log-probabilities below this are taken as this: what sampling masks has none, and contributes nothing.
_LEAST = -1e4


def advantages(teacher_BR: Tensor, student_BR: Tensor, clamp: float) -> Tensor:
    """A_n = log p_T(y_n | X, S, y_<n) - log p_theta(y_n | X, y_<n), clamped to [-clamp, clamp], without gradient.

    Minus the k1 estimate of the reverse KL of student and teacher at each token (paper, section "Objective").

    Args:
        teacher_BR: the teacher's log-probabilities of the sampled tokens, in nats.
        student_BR: the student's.
        clamp: bound, in nats.
    """
    return (teacher_BR - student_BR).detach().clamp(-clamp, clamp)


def k1_loss(advantages_BR: Tensor, student_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """L = - E_y [ 1/|y| sum_n sg[A_n] log p_theta(y_n | X, y_<n) ], the paper's objective.

    With one update a batch the PPO ratio is 1 and clipping never acts, so there is neither here: the gradient is the same.

    Args:
        advantages_BR: advantages of the sampled tokens.
        student_BR: the student's log-probabilities of them, with their graph.
        mask_BR: true at tokens of a response, false at padding.
    """
    # Both factors are masked: a padding score that is not finite would reach the gradient through the product.
    terms_BR = advantages_BR.detach().masked_fill(~mask_BR, 0.0) * student_BR.masked_fill(~mask_BR, 0.0)
    return -_mean_over_responses(terms_BR, mask_BR)


def reverse_kl_loss(teacher_NV: Tensor, student_NV: Tensor, mask_BR: Tensor) -> Tensor:
    """L = E_y [ 1/|y| sum_n KL( p_theta(. | X, y_<n) || p_T(. | X, S, y_<n) ) ].

    What k1 estimates from the one token that was sampled, summed over the vocabulary: the same expected gradient at each prefix,
    without that draw's variance (``benchmarks/objective_noise.py`` measures how much that is).

    Args:
        teacher_NV: the teacher's log-probabilities at the N response tokens of the batch, row by row.
        student_NV: the student's, with their graph.
        mask_BR: true at tokens of a response; N of them.
    """
    student_NV, teacher_NV = student_NV.clamp(min=_LEAST), teacher_NV.detach().clamp(min=_LEAST)
    return _mean_over_tokens((student_NV.exp() * (student_NV - teacher_NV)).sum(-1), mask_BR)


def forward_kl_loss(teacher_NV: Tensor, student_NV: Tensor, mask_BR: Tensor) -> Tensor:
    """L = E_y [ 1/|y| sum_n KL( p_T(. | X, S, y_<n) || p_theta(. | X, y_<n) ) ], on the student's own prefixes y_<n.

    The paper's full-vocabulary objective. Its gradient at a token that the teacher wants is p_T - p_theta, however little the student
    thinks of that token: a student that is sure of something wrong is moved at once, where the reverse KL's gradient vanishes with p_theta.

    Args:
        teacher_NV: the teacher's log-probabilities at the N response tokens of the batch, row by row.
        student_NV: the student's, with their graph.
        mask_BR: true at tokens of a response; N of them.
    """
    student_NV, teacher_NV = student_NV.clamp(min=_LEAST), teacher_NV.detach().clamp(min=_LEAST)
    return _mean_over_tokens((teacher_NV.exp() * (teacher_NV - student_NV)).sum(-1), mask_BR)


def _mean_over_tokens(terms_N: Tensor, mask_BR: Tensor) -> Tensor:
    terms_BR = torch.zeros(mask_BR.shape, dtype=terms_N.dtype, device=mask_BR.device)
    return _mean_over_responses(terms_BR.masked_scatter(mask_BR, terms_N), mask_BR)


def _mean_over_responses(terms_BR: Tensor, mask_BR: Tensor) -> Tensor:
    return (terms_BR * (mask_BR / mask_BR.sum(-1, keepdim=True).clamp(min=1))).sum(-1).mean()
