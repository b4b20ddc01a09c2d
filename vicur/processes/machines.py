"""The machines of a training, as torchrun's own variables tell of them.

Each is given the same command. ``PET_NNODES`` says how many there are, ``PET_NODE_RANK`` which this is, ``PET_MASTER_ADDR`` and
``PET_MASTER_PORT`` where machine 0 listens; Kubeflow's training operator sets all four.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from vicur.errors import VicurError


@dataclass(frozen=True)
class Machines:
    """The machines of a training.

    Attributes:
        count: how many there are.
        rank: the number of this one.
    """

    count: int = 1
    rank: int = 0

    @classmethod
    def from_environment(cls) -> Machines:
        """As torchrun's variables say; without them, this one alone.

        Raises:
            VicurError: where they do not say it plainly.
        """
        told = os.environ.get("PET_NNODES") or "1", os.environ.get("PET_NODE_RANK")
        try:
            machines = cls(int(told[0]), int(told[1] or 0))
        except ValueError as error:
            raise VicurError(
                f"is no whole number ({error}).",
                where="PET_NNODES, PET_NODE_RANK",
                remedy="Give the number of machines and this machine's own, from 0 on: trainings of a changing number of machines are not "
                "supported.",
            ) from error
        if machines.count > 1 and told[1] is None:
            raise VicurError(
                f"{machines.count} machines do not know which of them this is.",
                where="PET_NODE_RANK",
                remedy="Set it to this machine's number, from 0 on.",
            )
        if not 0 <= machines.rank < machines.count:
            raise VicurError(
                f"machine {machines.rank} is not among {machines.count}.",
                where="PET_NNODES, PET_NODE_RANK",
                remedy="Give the number of machines, and this one's own from 0 on.",
            )
        if machines.count > 1 and not os.environ.get("PET_MASTER_ADDR"):
            raise VicurError(
                f"{machines.count} machines do not know where to find each other.",
                where="PET_MASTER_ADDR",
                remedy="Set it to the address of machine 0, and PET_MASTER_PORT to a free port there, on all of them.",
            )
        return machines
