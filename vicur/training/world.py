"""The processes of a training and their collective operations. In a single process these return at once."""

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

# Rank 0 writes checkpoints, and loads the student again at the end, while the other ranks wait in a collective.
_TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """This process among those of a training. Rank 0 writes all outputs."""

    device: torch.device  # of the student
    teacher_device: torch.device
    rank: int = 0  # over all machines
    size: int = 1
    local_rank: int = 0  # on this machine
    local_size: int = 1

    @classmethod
    def single(cls, device: str, teacher_device: str | None = None) -> World:
        """Return the world of a training in one process."""
        return cls(torch.device(device), torch.device(teacher_device or device))

    @classmethod
    def from_torchrun(cls, config: DistributionConfig, device: str, reserved: int = 0) -> World:
        """Join the processes that torchrun started, on devices of type ``cpu`` or ``cuda``, of which servers use the last ``reserved``."""
        from accelerate import PartialState

        local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        state = PartialState(cpu=device == "cpu", timeout=_TIMEOUT)
        devices = devices_for(local_rank, config, device, reserved)
        return cls(*devices, state.process_index, state.num_processes, local_rank, local_size)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def one_at_a_time(self, function: Callable[[], T]) -> T:
        """Call ``function`` in one process of this machine after the other: each needs memory that it gives back."""
        result: T
        for turn in range(self.local_size):
            if turn == self.local_rank:
                result = function()
            if self.size > 1:
                distributed.barrier()
        return result

    def shard(self, items: Sequence[T]) -> list[T]:
        """Return this rank's share of ``items``: every ``size``-th, starting at ``rank``."""
        return list(items[self.rank :: self.size])

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    @torch.no_grad()
    def collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return full copies of (possibly sharded) tensors on the CPU of rank 0, and nothing on other ranks."""
        copies = {}
        for name, tensor in tensors.items():
            # Gathering is a collective, so every rank takes part in it.
            full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.is_main:
                copies[name] = full.detach().to("cpu", copy=True).contiguous()
        return copies

    @torch.no_grad()
    def distribute(self, values: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Copy rank 0's values, as returned by :meth:`collect`, into the (possibly sharded) targets of all ranks."""
        for name, target in targets.items():
            if self.size == 1:
                target.copy_(values[name])
                continue
            full = torch.empty(target.shape, dtype=target.dtype, device=target.device)
            if self.is_main:
                full.copy_(values[name])
            if isinstance(target, DTensor):
                target.copy_(distribute_tensor(full, target.device_mesh, target.placements))
            else:
                distributed.broadcast(full, src=0)
                target.copy_(full)


def devices_for(
    local_rank: int, config: DistributionConfig, device: str, reserved: int = 0
) -> tuple[torch.device, torch.device]:
    """Return the devices of student and teacher in a process. Servers use the last ``reserved`` GPUs of the machine."""
    if device == "cpu":
        return torch.device("cpu"), torch.device("cpu")
    # Separate teachers have the second half of the other GPUs.
    offset = (torch.cuda.device_count() - reserved) // 2 if config.teacher_devices == "separate" else 0
    return torch.device("cuda", local_rank), torch.device("cuda", local_rank + offset)


def local_process_count(config: DistributionConfig, device: str, reserved: int = 0) -> int:
    """Return the number of processes to run on this machine, of whose GPUs servers use ``reserved``.

    Raises:
        VicurError: if it has too few GPUs for them.
    """
    return processes_per_machine(config, torch.cuda.device_count() if device == "cuda" else 0, reserved)


def processes_per_machine(config: DistributionConfig, gpus: int, reserved: int = 0) -> int:
    """Return the number of processes to run on a machine with ``gpus`` GPUs, of which servers use ``reserved``.

    Without any GPU, the processes run on the CPU.

    Raises:
        VicurError: if it has too few GPUs for them.
    """
    separate = config.teacher_devices == "separate"
    if separate and not gpus:
        raise VicurError(
            "teacher_devices is separate, but the machine has no GPUs.",
            where="training.distribution.teacher_devices",
            remedy="Set it to shared, or train on a machine with GPUs.",
        )
    if gpus and gpus <= reserved:
        raise VicurError(
            f"the servers of the training need {reserved} GPUs, but each machine has {gpus}, which leaves none for the training itself.",
            where="training.rollout.placement, training.teacher.placement",
            remedy="Use fewer or smaller servers (training.rollout.engine.replicas, training.rollout.engine.tensor_parallel), set the "
            "placement to process, or add GPUs (in a cluster: cluster.gpu_count, or cluster.jobs.always for pods of their own).",
        )
    gpus -= reserved if gpus else 0
    each = 2 if separate else 1
    count = max(1, gpus // each) if config.processes == "auto" else config.processes
    if gpus and count * each > gpus:
        raise VicurError(
            f"{count} processes need {count * each} GPUs, but each machine has {gpus}{' besides those of servers' if reserved else ''}.",
            where="training.distribution.processes",
            remedy="Set fewer processes, or auto for as many as there are GPUs, or add GPUs (in a cluster: cluster.gpu_count).",
        )
    return count
