"""Groups of training processes that share one vLLM engine (tensor parallelism)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from torch import distributed
from torch.distributed import ProcessGroup

from vicur.errors import VicurError
from vicur.training.world import World

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class EngineGroup:
    """The processes of one engine: ``size`` consecutive ranks, of which this process is number ``place``."""

    size: int = 1
    place: int = 0
    # Set if there are several processes. On the CPU, where prompts and images are.
    processes: ProcessGroup | None = None

    @classmethod
    def create(cls, world: World, size: int) -> EngineGroup:
        """Return this process's group. All processes of ``world`` call this together."""
        if size == 1:
            return cls()
        mine = None
        for first in range(0, world.size, size):
            # Every process takes part in creating every group.
            group = distributed.new_group(list(range(first, first + size)), backend="gloo")
            if first <= world.rank < first + size:
                mine = group
        return cls(size, world.rank % size, mine)

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes of the group, in their order."""
        if self.processes is None:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.processes)
        return values


def require_divisible(size: int, processes_per_machine: int, where: str) -> None:
    """Raise a ``VicurError`` unless the processes of each machine can be divided into groups of ``size``."""
    if processes_per_machine % size:
        raise VicurError(
            f"an engine of {size} processes does not fit the {processes_per_machine} training processes of a machine: an engine does not "
            "extend over machines, and each process takes part in one.",
            where=where,
            remedy=f"Choose a divisor of {processes_per_machine}, or another number of processes (training.distribution.processes).",
        )
