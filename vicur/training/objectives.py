"""Training objectives: pure functions over the scores of sampled tokens.

Notation of the paper (arXiv 2606.05718): X is image and question, S the privilege, y a response that the student sampled.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    """L = - E_y [ 1/|y| sum_n sg[A_n] log p_theta(y_n | X, y_<n) ].

    With one update a batch the PPO ratio is 1 and clipping never acts, so there is neither here: the gradient is the same.

    Args:
        advantages_BR: advantages of the sampled tokens.
        student_BR: the student's log-probabilities of them, with their graph.
        mask_BR: true at tokens of a response, false at padding.

    Returns:
        The loss: mean over responses of the mean over their tokens. A response without tokens counts as zero.
    """
    weights_BR = mask_BR / mask_BR.sum(-1, keepdim=True).clamp(min=1)
    # Both factors are masked: a padding score that is not finite would reach the gradient through the product.
    terms_BR = advantages_BR.detach().masked_fill(~mask_BR, 0.0) * student_BR.masked_fill(~mask_BR, 0.0)
    return -(terms_BR * weights_BR).sum(-1).mean()
