"""A worker process of a training, started by torchrun: ``python -m vicur.training.workers.worker FOLDER``.

FOLDER is a :class:`~vicur.training.workers.folder.WorkerFolder`. Rank 0 writes progress and summary there; a worker that fails, its error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from torch import distributed
from transformers.utils.logging import disable_progress_bar

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.lifeline import watch
from vicur.processes.signals import EXIT_CODE
from vicur.stage.events import Events
from vicur.stage.runner import Context, user_error
from vicur.storage.folders import new_file
from vicur.tracking.tracker import Tracker
from vicur.training.rollout.placed import local_devices
from vicur.training.train import train_rank
from vicur.training.workers.folder import Task, WorkerFolder
from vicur.training.world import World

log = logging.getLogger(__name__)


def main(path: Path) -> int:
    """Run the task of the folder and return the exit status."""
    folder = WorkerFolder(path)
    watch(folder.lifeline, lambda: os._exit(1))
    task = Task(**json.loads(folder.task.read_text(encoding="utf-8")))
    try:
        _train(folder, task)
    except (VicurError, OSError) as error:
        failure = user_error(error, Path(task.output))
        if not isinstance(failure, VicurError):
            raise
        if not folder.fail(failure):
            log.error("%s", failure)
        # A training stopped by SIGTERM ends in all workers at once. torchrun must not take that for a failure and kill the others.
        return 0 if failure.exit_code == EXIT_CODE else failure.exit_code
    except RuntimeError:
        # Collectives raise it if another worker is gone. If that one has reported its error, there is nothing to add.
        if not folder.error.exists():
            raise
        return 1
    return 0


def _train(folder: WorkerFolder, task: Task) -> None:
    config = TrainConfig.model_validate(task.config)
    world = World.from_torchrun(config.distribution, task.device, local_devices(config))
    folder.begun.touch()
    inputs = {name: Path(path) for name, path in task.inputs.items()}
    context = _context(folder, task, world)
    summary = train_rank(config, inputs, Path(task.output), context, world, folder.stop)
    if summary is not None:
        with new_file(folder.summary) as file:
            file.write_text(summary.model_dump_json(), encoding="utf-8")
    # Rank 0 writes the student. The others wait for it, so that all workers end together.
    distributed.barrier()
    distributed.destroy_process_group()


def _context(folder: WorkerFolder, task: Task, world: World) -> Context:
    fields: dict[str, Any] = dict(task.context)
    tracker = Tracker(folder.metrics if world.is_main else None, run_id=fields.pop("mlflow_run_id", None))
    events = Events(task.label, folder.events if world.is_main else None)
    return Context(tracker=tracker, events=events, work=Path(fields.pop("work")), **fields)


if __name__ == "__main__":
    # All workers load at the same time, and their progress bars would overwrite each other.
    disable_progress_bar()
    logging.basicConfig(level=logging.INFO if os.environ["RANK"] == "0" else logging.WARNING, format="%(message)s")
    # The stage logs the progress that it relays.
    logging.getLogger("vicur.stage.events").setLevel(logging.WARNING)
    raise SystemExit(main(Path(sys.argv[1])))
