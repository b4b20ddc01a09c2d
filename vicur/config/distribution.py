"""Processes and devices of a training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from vicur.config.section import Section


class DistributionConfig(Section):
    """Processes and devices of one training. They change its speed and memory; the result differs by rounding only.

    Several machines find each other through torchrun's environment variables (docs/distribution.md); their settings are the same.
    """

    processes: int | Literal["auto"] = "auto"
    """Processes on each machine. ``auto``: one for each GPU, or one without GPUs."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """With several processes, ``ddp`` keeps a whole student in each. ``fsdp`` (FSDP2) shards its weights, gradients and optimizer state,
    and the weights of its teacher, over all of them."""
    teacher_devices: Literal["shared", "separate"] = "shared"
    """``separate`` gives the teacher the second half of each machine's GPUs (4 + 4 in the paper). ``auto`` then starts half as many
    processes as there are GPUs."""

    @field_validator("processes", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        # KFP passes whole numbers as floats, and bool is a subclass of int.
        number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        number = number and not isinstance(value, bool) and value >= 1
        if not number and value != "auto":
            raise ValueError("must be a whole number of at least 1, or 'auto'")
        return value
