"""What is minimised."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from vicur.config.section import Section


class K1(Section):
    """The paper's objective: a policy gradient with the teacher's log-prob gap as advantage."""

    type: Literal["k1"] = "k1"
    clamp: float = Field(default=10.0, gt=0)
    """Bound of a token's advantage, in nats (the paper's 10)."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """How far the PPO ratio may stray from 1, where a batch serves several updates (the paper's 0.2)."""


class K3(Section):
    """The k3 estimate of the reverse KL at each sampled token, differentiated as it stands."""

    type: Literal["k3"] = "k3"
    clamp: float = Field(default=10.0, gt=0)
    """Bound of a token's log-ratio of teacher and student, in nats; beyond it a token has no gradient."""


class ForwardKl(Section):
    """KL(teacher || student) over the vocabulary: moves a student that is sure of something wrong at once."""

    type: Literal["forward_kl"] = "forward_kl"


class ReverseKl(Section):
    """KL(student || teacher) over the vocabulary: what k1 estimates, without the noise of the sampled token."""

    type: Literal["reverse_kl"] = "reverse_kl"


class Jsd(Section):
    """The generalised Jensen-Shannon divergence over the vocabulary."""

    type: Literal["jsd"] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher in the mixture that both are compared with."""


class TopkForwardKl(Section):
    """KL(teacher || student) over the teacher's likeliest tokens and one bucket that holds all others."""

    type: Literal["topk_forward_kl"] = "topk_forward_kl"
    k: int = Field(default=64, ge=1)
    """Tokens that are told apart."""


class Grpo(Section):
    """Rewards instead of a teacher: a response that is right earns 1, and is compared with others to the same prompt (arXiv 2402.03300)."""

    type: Literal["grpo"] = "grpo"
    group_size: int = 5
    """Rollouts a prompt (the paper's 5)."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """How far the PPO ratio may stray from 1, where a batch serves several updates."""
    scale: bool = True
    """Whether a group's advantages are divided by the standard deviation of its rewards, as GRPO has it."""

    @field_validator("group_size")
    @classmethod
    def _has_others(cls, size: int) -> int:
        if size < 2:
            raise ValueError("a group needs 2 rollouts or more: each is compared with the others")
        return size


class Supervised(Section):
    """Cross-entropy of reference responses: no rollouts."""

    type: Literal["supervised"] = "supervised"


ObjectiveConfig = Annotated[
    K1 | K3 | ForwardKl | ReverseKl | Jsd | TopkForwardKl | Grpo | Supervised, Field(discriminator="type")
]
"""The objective, chosen by ``type``."""
