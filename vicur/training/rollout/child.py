"""A server next to its training: ``python -m vicur.training.rollout.child TASK LIFELINE``. It ends with the training."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.lifeline import watch
from vicur.processes.supervised import WRONG_INPUT


def main(task_file: Path, lifeline: Path) -> int:
    """Serve the task until it ends or the lifeline is released, and return the exit status."""
    # The handler of this signal stops the server with all that it has started.
    watch(lifeline, lambda: os.kill(os.getpid(), signal.SIGTERM))
    task = json.loads(task_file.read_text(encoding="utf-8"))
    # Imports torch.
    from vicur.training.rollout.serve import serve

    teacher = None if task["teacher"] is None else Path(task["teacher"])
    config = TrainConfig.model_validate(task["config"])
    try:
        return serve(config, Path(task["base"]), task["host"], task["port"], (), teacher=teacher)
    except VicurError as error:
        print(error, file=sys.stderr, flush=True)
        return 1 if error.retryable else error.exit_code or WRONG_INPUT


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
