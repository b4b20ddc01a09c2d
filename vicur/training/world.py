"""The processes of one training and what they do together. One that is alone does the same with nobody to talk to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, distribute_tensor

from vicur.config.distribution import DistributionConfig
from vicur.errors import VicurError

T = TypeVar("T")

# Process 0 writes checkpoints and loads the student anew at the end, while the others wait.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """One of the processes of a training, as it sees all of them.

    Attributes:
        device: where this one computes the student.
        teacher_device: where it computes the teacher.
        rank: its number, over all machines; 0 writes what the training writes.
        count: how many there are.
        local_rank: its number on its machine.
        local_count: how many there are on its machine.
    """

    device: torch.device
    teacher_device: torch.device
    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @classmethod
    def alone(cls, device: str, teacher_device: str | None = None) -> World:
        """The only process of a training."""
        return cls(torch.device(device), torch.device(teacher_device or device))

    @classmethod
    def joined(cls, config: DistributionConfig, device: str) -> World:
        """This process among those that torchrun has started.

        Args:
            config: how they share the devices.
            device: ``cpu`` or ``cuda``.
        """
        from accelerate import PartialState

        rank, count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
        return cls(*devices_of(rank, config, device), state.process_index, state.num_processes, rank, count)

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def in_turn(self, function: Callable[[], T]) -> T:
        """What ``function`` gives. The processes of a machine call it one after the other: each takes memory that it gives back."""
        made: T
        for turn in range(self.local_count):
            if turn == self.local_rank:
                made = function()
            if self.count > 1:
                distributed.barrier()
        return made

    def share(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th of them, from ``rank`` on: this process's part."""
        return list(items[self.rank :: self.count])

    def gather(self, mine: T) -> list[T]:
        """What each process has, in the order of their ranks."""
        if self.count == 1:
            return [mine]
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, mine)
        return parts

    def from_main(self, value: T) -> T:
        """The value that process 0 has."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return any(self.gather(flag))

    @torch.no_grad()
    def collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole copies of tensors, sharded over the processes or not, on the CPU of process 0; nothing in the others."""
        kept = {}
        for name, tensor in tensors.items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.is_main:
                kept[name] = whole.detach().to("cpu", copy=True).contiguous()
        return kept

    @torch.no_grad()
    def hand_out(self, values: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Puts what process 0 has, as :meth:`collect` gave it, into the targets of all processes."""
        for name, target in targets.items():
            if self.count == 1:
                target.copy_(values[name])
                continue
            whole = torch.empty(target.shape, dtype=target.dtype, device=target.device)
            if self.is_main:
                whole.copy_(values[name])
            if isinstance(target, DTensor):
                target.copy_(distribute_tensor(whole, target.device_mesh, target.placements))
            else:
                distributed.broadcast(whole, src=0)
                target.copy_(whole)


def devices_of(local_rank: int, config: DistributionConfig, device: str) -> tuple[torch.device, torch.device]:
    """Devices of student and teacher of a process.

    Args:
        local_rank: the process's number on its machine.
        config: whether they share a device; where they do not, the second half of the machine's GPUs is the teachers'.
        device: ``cpu`` or ``cuda``.
    """
    if device == "cpu":
        return torch.device("cpu"), torch.device("cpu")
    apart = torch.cuda.device_count() // 2 if config.teacher_devices == "separate" else 0
    return torch.device("cuda", local_rank), torch.device("cuda", local_rank + apart)


def process_count(config: DistributionConfig, device: str) -> int:
    """How many processes this machine runs.

    Raises:
        VicurError: where it has not the GPUs that they need.
    """
    return processes_with(config, torch.cuda.device_count() if device == "cuda" else 0)


def processes_with(config: DistributionConfig, gpus: int) -> int:
    """How many processes a machine runs that has so many GPUs; one without trains on its processor.

    Raises:
        VicurError: where it has not the GPUs that they need.
    """
    apart = config.teacher_devices == "separate"
    if apart and not gpus:
        raise VicurError(
            "a teacher has GPUs of its own only where there are GPUs.",
            where="training.distribution.teacher_devices",
            remedy="Set it to shared, or train on a machine with GPUs.",
        )
    each = 2 if apart else 1
    wanted = max(1, gpus // each) if config.processes == "auto" else config.processes
    if gpus and wanted * each > gpus:
        raise VicurError(
            f"{wanted} processes need {wanted * each} GPUs, and each machine has {gpus}.",
            where="training.distribution.processes",
            remedy="Ask for fewer processes, for one a GPU with auto, or for more GPUs (in a cluster: cluster.gpu_count).",
        )
    return wanted
