"""How a training is spread over processes and devices."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from vicur.config.section import Section


class DistributionConfig(Section):
    """The processes of one training: how fast it is and what fits. Beyond rounding, what is learned does not depend on them.

    Several machines are told of each other in torchrun's own variables (docs/distribution.md), and no setting differs between them.
    """

    processes: int | Literal["auto"] = "auto"
    """World on each machine; ``auto``: one a GPU, and one where there is none."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Of several processes, ``ddp``: each holds the whole student; ``fsdp``: its weights, gradients and optimizer state, and the weights of
    its teacher, are sharded over all of them (FSDP2)."""
    teacher_devices: Literal["shared", "separate"] = "shared"
    """``separate``: the teacher has GPUs of its own, the second half of a machine's (the paper's 4 + 4), so ``auto`` starts half as many
    processes as there are GPUs."""

    @field_validator("processes", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        # KFP passes whole numbers as floats.
        number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        number = number and not isinstance(value, bool) and value >= 1
        if not number and value != "auto":
            raise ValueError("must be a whole number of at least 1, or 'auto'")
        return value
