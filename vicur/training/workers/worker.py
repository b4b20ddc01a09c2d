"""One of the processes of a training, as torchrun starts it: ``python -m vicur.training.workers.worker FOLDER``.

The folder is that of ``vicur.training.launch``. The first process tells how the training goes there, and what came of it; one that fails
tells why.
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
from vicur.training.course import take_part
from vicur.training.workers.launch import Task, WorkerFolder
from vicur.training.world import World

log = logging.getLogger(__name__)


def main(folder: Path) -> int:
    """Does what the folder's task says.

    Returns:
        Exit status. A training that was asked to stop ends in all processes at once, and is no failure of any.
    """
    desk = WorkerFolder(folder)
    watch(desk.lifeline, lambda: os._exit(1))
    task = Task(**json.loads(desk.task.read_text(encoding="utf-8")))
    try:
        _train(desk, task)
    except (VicurError, OSError) as error:
        failure = user_error(error, Path(task.output))
        if not isinstance(failure, VicurError):
            raise
        if not desk.fail(failure):
            log.error("%s", failure)
        return 0 if failure.exit_code == EXIT_CODE else failure.exit_code
    except RuntimeError:
        # One that loses another, which has said why, has nothing to add.
        if not desk.error.exists():
            raise
        return 1
    return 0


def _train(desk: WorkerFolder, task: Task) -> None:
    config = TrainConfig.model_validate(task.config)
    processes = World.joined(config.distribution, task.device)
    desk.begun.touch()
    inputs = {name: Path(path) for name, path in task.inputs.items()}
    context = _context(desk, task, processes)
    summary = take_part(config, inputs, Path(task.output), context, processes, desk.stop)
    if summary is not None:
        with new_file(desk.summary) as file:
            file.write_text(summary.model_dump_json(), encoding="utf-8")
    # The first process writes the student: until then, the others are not done either.
    distributed.barrier()
    distributed.destroy_process_group()


def _context(desk: WorkerFolder, task: Task, processes: World) -> Context:
    told: dict[str, Any] = dict(task.context)
    tracker = Tracker(desk.metrics if processes.is_main else None, run_id=told.pop("mlflow_run_id", None))
    events = Events(task.label, desk.events if processes.is_main else None)
    return Context(tracker=tracker, events=events, work=Path(told.pop("work")), **told)


if __name__ == "__main__":
    # All processes load the same at the same time: bars would fall over each other.
    disable_progress_bar()
    logging.basicConfig(level=logging.INFO if os.environ["RANK"] == "0" else logging.WARNING, format="%(message)s")
    # What it tells of progress is passed on, and told by the stage.
    logging.getLogger("vicur.stage.events").setLevel(logging.WARNING)
    raise SystemExit(main(Path(sys.argv[1])))
