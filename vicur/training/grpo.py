"""What is told of the rewards of a group (GRPO, arXiv 2402.03300).

Deviations from that paper: there is no KL term to a reference model, since no second model is held; the reward is exact match alone.
"""

from __future__ import annotations

from torch import Tensor


def reward_metrics(rewards_GN: Tensor) -> dict[str, float]:
    """Mean and spread of the rewards, and the share of groups that agree: those teach nothing."""
    return {
        "reward/mean": float(rewards_GN.mean()),
        "reward/std": float(rewards_GN.std(dim=-1).mean()),
        "reward/groups_without_signal": float((rewards_GN == rewards_GN[:, :1]).all(dim=-1).float().mean()),
    }
