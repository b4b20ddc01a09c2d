"""Group rollouts with rewards (GRPO, arXiv 2402.03300), and the clipped policy gradient of several updates a batch.

Deviations from that paper: there is no KL term to a reference model, since no second model is held; the reward is exact match alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Of a group that agrees, whose rewards have no spread.
_EPSILON = 1e-6


def group_advantages(rewards_GN: Tensor, *, scale: bool) -> Tensor:
    """A_gn = (r_gn - mean_n r_gn) / (std_n r_gn + 1e-6): how much better a response is than the others to its prompt [G, N].

    Args:
        rewards_GN: rewards of N responses to each of G prompts.
        scale: whether to divide by the group's standard deviation (of a sample: N - 1).
    """
    centred_GN = rewards_GN - rewards_GN.mean(dim=-1, keepdim=True)
    return centred_GN / (rewards_GN.std(dim=-1, keepdim=True) + _EPSILON) if scale else centred_GN


def reward_metrics(rewards_GN: Tensor) -> dict[str, float]:
    """Mean and spread of the rewards, and the share of groups that agree: those teach nothing."""
    return {
        "reward/mean": float(rewards_GN.mean()),
        "reward/std": float(rewards_GN.std(dim=-1).mean()),
        "reward/groups_without_signal": float((rewards_GN == rewards_GN[:, :1]).all(dim=-1).float().mean()),
    }


def clipped_policy_loss(
    advantages_BR: Tensor, logprobs_BR: Tensor, old_BR: Tensor, mask_BR: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """L = - E_y [ 1/|y| sum_n min( rho_n A_n, clamp(rho_n, 1 - clip, 1 + clip) A_n ) ] with rho_n = p_theta(y_n | ...) / p_old(y_n | ...).

    PPO's clipped objective (arXiv 1707.06347). Its gradient at rho = 1 is that of the plain policy gradient.

    Args:
        advantages_BR: advantages of the sampled tokens, without gradient.
        logprobs_BR: their log-probabilities under the student, with their graph.
        old_BR: those under the student that sampled them.
        mask_BR: true at tokens of a response.
        clip: how far the ratio counts.

    Returns:
        The loss, and the share of tokens whose ratio was clipped.
    """
    ratio_BR = (logprobs_BR - old_BR).masked_fill(~mask_BR, 0.0).exp()
    advantages_BR = advantages_BR.detach().masked_fill(~mask_BR, 0.0)
    plain_BR = ratio_BR * advantages_BR
    held_BR = ratio_BR.clamp(1 - clip, 1 + clip) * advantages_BR
    weights_BR = mask_BR / mask_BR.sum(-1, keepdim=True).clamp(min=1)
    clipped = (held_BR < plain_BR)[mask_BR].float().mean()
    return -(torch.minimum(plain_BR, held_BR) * weights_BR).sum(-1).mean(), clipped.detach()
