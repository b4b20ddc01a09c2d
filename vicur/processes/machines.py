"""The machines of a training, read from torchrun's environment variables.

Each machine runs the same command. ``PET_NNODES`` is their number, ``PET_NODE_RANK`` the number of this one, and ``PET_MASTER_ADDR`` and
``PET_MASTER_PORT`` are the address of machine 0. Kubeflow's training operator sets all four.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from vicur.errors import VicurError

NODE_TASK = "VICUR_NODE_TASK"
"""Environment variable with the task of a TrainJob's node. A process that has it is such a node."""
SERVERS = "VICUR_SERVERS"
"""Environment variable with the addresses of the servers of a training."""
_PLACE = "environment variables"


@dataclass(frozen=True)
class Machines:
    """The number of machines and the rank of this one."""

    count: int = 1
    rank: int = 0

    @classmethod
    def from_environment(cls) -> Machines:
        """Read torchrun's variables. Without them there is one machine.

        Raises:
            VicurError: if they are incomplete or contradict each other.
        """
        count_text, rank_text = os.environ.get("PET_NNODES") or "1", os.environ.get("PET_NODE_RANK")
        try:
            machines = cls(int(count_text), int(rank_text or 0))
        except ValueError as error:
            raise VicurError(
                f"PET_NNODES is {count_text!r} and PET_NODE_RANK is {rank_text!r}, but both must be whole numbers.",
                where=_PLACE,
                remedy="Set PET_NNODES to the number of machines (elastic ranges such as 1:4 are not supported) and PET_NODE_RANK to "
                "this machine's number, counted from 0.",
            ) from error
        if machines.count > 1 and rank_text is None:
            raise VicurError(
                f"PET_NNODES is {machines.count}, but PET_NODE_RANK is not set.",
                where=_PLACE,
                remedy="Set PET_NODE_RANK to this machine's number, counted from 0.",
            )
        if not 0 <= machines.rank < machines.count:
            raise VicurError(
                f"PET_NNODES is {machines.count} and PET_NODE_RANK is {machines.rank}, but ranks run from 0 to PET_NNODES - 1.",
                where=_PLACE,
                remedy="Set PET_NNODES to the number of machines and PET_NODE_RANK to this machine's number, counted from 0.",
            )
        if machines.count > 1 and not os.environ.get("PET_MASTER_ADDR"):
            raise VicurError(
                f"PET_NNODES is {machines.count}, but PET_MASTER_ADDR is not set.",
                where=_PLACE,
                remedy="Set PET_MASTER_ADDR to the address of machine 0 and PET_MASTER_PORT to a free port there, on all machines.",
            )
        return machines
