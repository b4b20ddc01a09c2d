"""What a student minimises on its own rollouts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from vicur.config.base import Section


class K1(Section):
    """The paper's objective: a policy gradient whose advantages are minus the k1 estimate of the reverse KL at each sampled token."""

    type: Literal["k1"] = "k1"
    clamp: float = Field(default=10.0, gt=0)
    """Bound of a token's advantage, in nats (the paper's 10)."""
    ppo_clip: float = Field(default=0.2, gt=0, lt=1)
    """How far the importance ratio may stray from 1 before it is clipped. The ratio is 1 in the only, or first, update on a batch."""


class K3(Section):
    """The k3 estimate of the reverse KL at each sampled token, differentiated as it stands."""

    type: Literal["k3"] = "k3"
    clamp: float = Field(default=10.0, gt=0)
    """Bound of a token's log-ratio of teacher and student, in nats; beyond it a token has no gradient."""


class ForwardKl(Section):
    """KL(teacher || student) over the whole vocabulary: moves a student that is sure of something wrong at once."""

    type: Literal["forward_kl"] = "forward_kl"


class ReverseKl(Section):
    """KL(student || teacher) over the whole vocabulary: what k1 estimates, without the noise of the sampled token."""

    type: Literal["reverse_kl"] = "reverse_kl"


class Jsd(Section):
    """The generalised Jensen-Shannon divergence over the whole vocabulary."""

    type: Literal["jsd"] = "jsd"
    beta: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher in the mixture that both are compared with."""


class TopkForwardKl(Section):
    """KL(teacher || student) over the teacher's likeliest tokens and one bucket that holds all others."""

    type: Literal["topk_forward_kl"] = "topk_forward_kl"
    k: int = Field(default=64, ge=1)
    """Tokens that are told apart."""


def _named(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Objective = Annotated[
    Annotated[K1 | K3 | ForwardKl | ReverseKl | Jsd | TopkForwardKl, Field(discriminator="type")],
    BeforeValidator(_named),
]
"""One of the objectives. Its bare name stands for it with its defaults."""
