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
from vicur.training.world import World, devices_for


def main(task: Path, results: Path) -> None:
    """Run the checks of a task in order."""
    from vicur.gpu_check.checks import RUN

    settings: dict[str, Any] = json.loads(task.read_text(encoding="utf-8"))
    torch.set_num_threads(int(settings.get("threads", 1)))
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
        if int(os.environ.get("RANK", "0")) == 0:
            append(results, {"name": name, "took": time.monotonic() - started, **outcome})


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
    """Add a result to the file."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
