"""A process of the check: ``python -m vicur.gpu_check.worker TASK RESULTS``, also under torchrun.

TASK is a JSON file with the names of checks and their settings. Each result is written when its check ends, so that a process that dies
(of a device-side assert, or for lack of memory) loses one check only.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from vicur.config.distribution import DistributionConfig
from vicur.errors import VicurError
from vicur.gpu_check.case import Case
from vicur.gpu_check.measuring import measure
from vicur.processes.lifeline import watch
from vicur.training.world import World, devices_for


def main(task: Path, results: Path) -> None:
    """Run the checks of a task in order."""
    from vicur.gpu_check.checks import RUN

    settings: dict[str, Any] = json.loads(task.read_text(encoding="utf-8"))
    watch(Path(settings["lifeline"]), lambda: os._exit(1))
    torch.set_num_threads(int(settings.get("threads", 1)))
    rank, together = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")) > 1
    for name in settings["checks"]:
        started = time.monotonic()
        try:
            outcome = RUN[name](settings)
        except VicurError as error:
            outcome = {"status": "failed", "detail": str(error)}
        except torch.OutOfMemoryError as error:
            outcome = {"status": "failed", "detail": f"out of memory: {str(error).partition('. ')[0]}"}
        # A check may find any fault of a machine: it is a result, and the other checks go on.
        except Exception as error:  # noqa: BLE001
            outcome = {"status": "failed", "detail": f"{type(error).__name__}: {error}"}
        failed = outcome["status"] == "failed"
        if together and failed:
            outcome["detail"] = f"process {rank}: {outcome['detail']}"
        if rank == 0 or (together and failed):
            append(results, {"name": name, "took": time.monotonic() - started, **outcome})
        if together and failed:
            # The other processes wait for this one in a collective, and it would wait for them at its exit. torchrun ends them.
            os._exit(1)


def measured(case: Case) -> dict[str, Any]:
    """Measure ``case`` in this process, which is one of ``case.processes``."""
    distribution = DistributionConfig(processes=case.processes)
    alone = World(*devices_for(0, distribution, case.device))
    world = alone if case.processes == 1 else World.from_torchrun(distribution, case.device)
    if case.device == "cuda":
        torch.cuda.set_device(world.device)
    with tempfile.TemporaryDirectory(prefix="vicur-") as work:
        return measure(case, world, Path(work))


def append(results: Path, record: dict[str, Any]) -> None:
    """Add a result to the file, which other processes may write to as well."""
    line = (json.dumps(record) + "\n").encode()
    file = os.open(results, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
