"""Several machines train together only where they were told the same: each was given its own command, with its own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.stage.code_version import code_version
from vicur.storage.folders import tree_sha256
from vicur.tracking.records import flattened
from vicur.training.world import World

_SHOWN = 8
# The same files may lie elsewhere on another machine.
_OWN = "config.teacher.path"


def require_same_work(config: TrainConfig, inputs: Mapping[str, Path], seed: int, processes: World) -> None:
    """Refuses machines with other settings, inputs, seed, code or numbers of processes than the first one's. All processes call
    it together.

    Raises:
        VicurError: showing the difference, in every process.
    """
    if processes.count == processes.local_count:
        return
    mine: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "code": code_version("vicur.training.train"),
        "processes": processes.local_count,
    }
    if processes.local_rank == 0:
        # Once a machine: they may be large.
        mine["inputs"] = {name: tree_sha256(path) for name, path in sorted(inputs.items())}
    first, *others = (dict(flattened(told)) for told in processes.gather(mine))
    for number, other in enumerate(others, start=1):
        unlike = [
            f"{key}: {first.get(key)} there, {value} here"
            for key, value in sorted(other.items())
            if key != _OWN and value != first.get(key)
        ]
        if unlike:
            more = f", and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
            raise VicurError(
                f"process {number} was told to train otherwise than process 0 ({'; '.join(unlike[:_SHOWN])}{more}).",
                where="training.distribution",
                remedy="Give all machines the same command, code, dataset, cues and models.",
            )
