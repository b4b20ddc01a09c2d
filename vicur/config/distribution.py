"""How a training is spread over processes, devices and machines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vicur.config.base import Section


class DistributionConfig(Section):
    """Processes of one training. They change how fast it is and what fits, and nothing else beyond rounding."""

    processes: int | Literal["auto"] = Field(default=1)
    """Processes on each machine: a number, or ``auto``, one a GPU (one where there is none)."""
    nodes: int = Field(default=1, ge=1)
    """Machines. Each runs the same command, with its number in ``VICUR_NODE_RANK`` (0 writes the student)."""
    rendezvous: str = ""
    """Where the machines find each other: ``host:port`` of machine 0. Needed for more than one."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """``ddp``: each process holds the whole student; ``fsdp``: weights, gradients and optimizer are sharded over all processes (FSDP2)."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """``bf16`` computes in bfloat16 and keeps weights, gradients and optimizer in float32."""
    gradient_checkpointing: bool = False
    """Compute a layer's activations again in backward instead of keeping them."""
    teacher_devices: Literal["shared", "separate"] = "shared"
    """``separate``: each process scores on a GPU of its own beside the student's (the paper's 4 + 4): half as many processes as GPUs."""

    @model_validator(mode="after")
    def _consistent(self) -> DistributionConfig:
        if self.processes != "auto" and self.processes < 1:
            raise ValueError("processes is a number from 1 on, or auto")
        if self.nodes > 1 and ":" not in self.rendezvous:
            raise ValueError("nodes above 1 need rendezvous, as in host:29500")
        return self
