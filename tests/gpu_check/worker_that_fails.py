"""A process of the check in which rank 1 fails ``bf16`` before a collective."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from vicur.config.distribution import DistributionConfig
from vicur.gpu_check import checks
from vicur.gpu_check.worker import main
from vicur.training.world import World


def _fails_in_one(_: dict[str, Any]) -> dict[str, Any]:
    world = World.from_torchrun(DistributionConfig(), "cpu")
    if world.rank == 1:
        raise RuntimeError("no memory here")
    world.gather(1)
    return {"status": "passed", "detail": ""}


if __name__ == "__main__":
    checks.RUN["bf16"] = _fails_in_one
    main(Path(sys.argv[1]), Path(sys.argv[2]))
