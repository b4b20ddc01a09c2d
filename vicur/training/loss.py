"""The objective that the settings name, applied to scores."""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.config.objective import K1, Grpo, ObjectiveConfig
from vicur.modeling.scoring import Scores
from vicur.training.grpo import clipped_policy_loss
from vicur.training.objectives import advantages, forward_kl_loss, k1_loss, reverse_kl_loss


def objective_loss(
    objective: ObjectiveConfig,
    teacher: Scores | None,
    student: Scores,
    mask_BR: Tensor,
    advantages_B: Tensor | None = None,
    old_BR: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch, a mean over its responses, and shares of what was clamped or clipped.

    Args:
        objective: what is minimised.
        teacher: the teacher's scores, for objectives that distil.
        student: the student's, with their graph.
        mask_BR: true at tokens of a response.
        advantages_B: advantage of each response, for ``grpo``.
        old_BR: log-probabilities that the tokens were sampled with, where the batch serves several updates.
    """
    if objective.type == "supervised":
        # A policy gradient whose every token has advantage 1 is the cross-entropy.
        return k1_loss(torch.ones_like(student.logprobs_BR), student.logprobs_BR, mask_BR), {}
    if objective.type == "grpo":
        assert advantages_B is not None
        return _policy_gradient(objective, advantages_B[:, None].expand(mask_BR.shape), student, mask_BR, old_BR)
    assert teacher is not None
    if objective.type == "k1":
        own_BR = student.logprobs_BR if old_BR is None else old_BR
        gap_BR = advantages(teacher.logprobs_BR, own_BR, objective.clamp)
        clamped = (gap_BR.abs() >= objective.clamp)[mask_BR].float().mean()
        loss, told = _policy_gradient(objective, gap_BR, student, mask_BR, old_BR)
        return loss, {"clip/advantage": float(clamped), **told}
    assert teacher.distributions_NV is not None
    assert student.distributions_NV is not None
    divergence = forward_kl_loss if objective.type == "forward_kl" else reverse_kl_loss
    return divergence(teacher.distributions_NV, student.distributions_NV, mask_BR), {}


def _policy_gradient(
    objective: K1 | Grpo, advantages_BR: Tensor, student: Scores, mask_BR: Tensor, old_BR: Tensor | None
) -> tuple[Tensor, dict[str, float]]:
    if old_BR is None:
        return k1_loss(advantages_BR, student.logprobs_BR, mask_BR), {}
    loss, clipped = clipped_policy_loss(advantages_BR, student.logprobs_BR, old_BR, mask_BR, objective.clip)
    return loss, {"clip/ratio": float(clipped)}
