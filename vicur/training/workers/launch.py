"""Starts the processes of a training with torch's launcher (torchrun), and follows them.

The process that runs the stage stays what it is: it holds the lock, the output folder and the tracker, and passes on what the first worker
tells. So a stage is one thing to its callers, whatever it starts. Where several machines train together, the first runs the stage, and the
others :func:`assist` it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.lifeline import lifeline
from vicur.processes.machines import Machines
from vicur.processes.signals import EXIT_CODE
from vicur.stage.runner import Context
from vicur.training.interruption import Interruption
from vicur.training.workers.relay import Relay

_POLL_SECONDS = 0.2
_ROOM_BYTES = 1 << 16


@dataclass(frozen=True)
class Task:
    """What a worker is told.

    Attributes:
        config: settings of the training.
        inputs: its inputs by name.
        output: folder that the student is written to.
        device: ``cpu`` or ``cuda``.
        context: the fields of the stage's context that are data, and the id of its MLflow run.
        label: what progress is told under.
    """

    config: dict[str, Any]
    inputs: dict[str, str]
    output: str
    device: str
    context: dict[str, Any]
    label: str


@dataclass(frozen=True)
class WorkerFolder:
    """The folder that a stage and its workers share on a machine.

    Attributes:
        folder: the folder.
    """

    folder: Path

    @property
    def task(self) -> Path:
        """What is to be done."""
        return self.folder / "task.json"

    @property
    def lifeline(self) -> Path:
        """Locked while there is someone to work for."""
        return self.folder / "lifeline"

    @property
    def begun(self) -> Path:
        """Is there once a worker of this machine has met all others."""
        return self.folder / "begun"

    @property
    def stop(self) -> Path:
        """Asks the workers to stop after a step, when it appears."""
        return self.folder / "stop"

    @property
    def events(self) -> Path:
        """Progress that the first worker tells."""
        return self.folder / "events.jsonl"

    @property
    def metrics(self) -> Path:
        """Metrics that it tells."""
        return self.folder / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        """What came of the training."""
        return self.folder / "summary.json"

    @property
    def error(self) -> Path:
        """What a worker ended with."""
        return self.folder / "error.json"

    @property
    def room(self) -> Path:
        """Takes the place on a full disk that an error needs to be told."""
        return self.folder / "room"

    def clear(self) -> None:
        """Removes what an earlier training has left, and takes room for an error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in (self.task, self.begun, self.stop, self.events, self.metrics, self.summary, self.error):
            file.unlink(missing_ok=True)
        # Nothing that a file system could make smaller.
        self.room.write_bytes(os.urandom(_ROOM_BYTES))

    def fail(self, error: VicurError) -> bool:
        """Tells what a worker ended with. Of several, the first is believed: the others may have lost it.

        Returns:
            Whether it is told. It is not where another worker has told something else.
        """
        names = ("problem", "where", "remedy", "exit_code", "retryable")
        told = json.dumps({name: getattr(error, name) for name in names})
        written = self.folder / f"error.{os.getpid()}.json"
        try:
            self.room.unlink(missing_ok=True)
            written.write_text(told, encoding="utf-8")
            # Whole or absent, and refused where there is one.
            with suppress(FileExistsError):
                os.link(written, self.error)
            written.unlink()
            return self.error.read_text(encoding="utf-8") == told
        except OSError:
            return False


def launch(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    context: Context,
    processes: int,
    device: str,
    machines: Machines,
) -> dict[str, Any]:
    """Trains in ``processes`` processes on this machine, the first, together with those of the others.

    Args:
        config: settings of the training.
        inputs: its inputs by name.
        output: the folder that the student goes to.
        context: the stage's context.
        processes: how many to start here.
        device: ``cpu`` or ``cuda``.
        machines: all machines, and which of them this is.

    Returns:
        The summary that the first process wrote.

    Raises:
        VicurError: what a process ended with.
    """
    if machines.rank > 0:
        raise VicurError(
            f"machine {machines.rank} cannot run the training step, which machine 0 runs.",
            where="PET_NODE_RANK",
            remedy="Give the machines beside it the command vicur train.",
        )
    told = {name: getattr(context, name) for name in ("run_id", "seed", "identity", "checkpoints", "fork_from")}
    told |= {"work": str(context.work), "mlflow_run_id": context.tracker.run_id}
    desk = WorkerFolder(context.work / "processes")
    desk.clear()
    relay = Relay(desk.events, desk.metrics, context)
    _work(desk, _task(config, inputs, output, device, told, context.events.stage), processes, machines, relay)
    if not desk.summary.exists():
        raise _ended(0)
    summary: dict[str, Any] = json.loads(desk.summary.read_text(encoding="utf-8"))
    return summary


def assist(
    config: TrainConfig, inputs: Mapping[str, Path], seed: int, processes: int, device: str, machines: Machines
) -> None:
    """Trains in ``processes`` processes on this machine, which is not the first: nothing is written here.

    Raises:
        VicurError: what a process ended with.
    """
    with tempfile.TemporaryDirectory(prefix="vicur-") as folder:
        told = {"run_id": "", "seed": seed, "work": folder}
        desk = WorkerFolder(Path(folder) / "processes")
        desk.clear()
        _work(desk, _task(config, inputs, Path(folder) / "student", device, told, "train"), processes, machines, None)


def _task(
    config: TrainConfig, inputs: Mapping[str, Path], output: Path, device: str, told: dict[str, Any], label: str
) -> Task:
    paths = {name: str(path.absolute()) for name, path in inputs.items()}
    return Task(config.model_dump(mode="json"), paths, str(output.absolute()), device, told, label)


def _work(desk: WorkerFolder, task: Task, processes: int, machines: Machines, relay: Relay | None) -> None:
    """Has the workers do a task, and passes on what they tell and what this process is told."""
    desk.task.write_text(json.dumps(asdict(task)), encoding="utf-8")
    with lifeline(desk.lifeline), Interruption() as interruption:
        workers = subprocess.Popen(_launcher(desk, processes, machines), start_new_session=True)
        try:
            while workers.poll() is None:
                if interruption.asked and not desk.begun.exists():
                    raise _stopped_early()
                if interruption.asked:
                    desk.stop.touch()
                if relay is not None:
                    relay.pass_on()
                time.sleep(_POLL_SECONDS)
        finally:
            if workers.poll() is None:
                os.killpg(workers.pid, signal.SIGKILL)
                workers.wait()
            if relay is not None:
                relay.pass_on()
    if desk.error.exists():
        told = json.loads(desk.error.read_text(encoding="utf-8"))
        raise VicurError(told.pop("problem"), **told)
    if workers.returncode:
        raise _ended(workers.returncode)


def _launcher(desk: WorkerFolder, processes: int, machines: Machines) -> list[str]:
    # torchrun reads everything about several machines from its variables; what would be left of them is none of a single machine's.
    where = ["--standalone"] if machines.count == 1 else []
    # A training that failed is tried again by the stage's caller, from its checkpoint.
    torchrun = [
        *where,
        f"--nproc-per-node={processes}",
        "--max-restarts=0",
        "--module",
        "vicur.training.workers.worker",
    ]
    return [sys.executable, "-m", "vicur.processes.torchrun", str(desk.lifeline), *torchrun, str(desk.folder)]


def _stopped_early() -> VicurError:
    return VicurError(
        "was asked to stop (SIGTERM) and did, before its processes had met.",
        where="training",
        remedy="Give the same command again.",
        exit_code=EXIT_CODE,
        retryable=True,
    )


def _ended(code: int) -> VicurError:
    return VicurError(
        f"a process of the training ended without a word (torchrun: status {code}).",
        where="training.distribution",
        remedy="What it printed stands above; a process that was killed, perhaps for want of memory, prints nothing. Given again, the "
        "command goes on from the last checkpoint.",
        exit_code=1,
        retryable=True,
    )
