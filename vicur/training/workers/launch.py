"""Start the worker processes of a training with torchrun, and follow them.

The stage's own process holds the lock, the output folder and the tracker, and passes on the progress of rank 0, so callers see one stage
whatever it starts. If several machines train together, machine 0 runs the stage and the others :func:`assist` it.
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.lifeline import lifeline
from vicur.processes.machines import Machines
from vicur.processes.signals import EXIT_CODE, StopFlag
from vicur.stage.code_version import code_version
from vicur.stage.runner import Context
from vicur.storage.folders import tree_sha256
from vicur.tracking.records import flattened
from vicur.training.workers.folder import Relay, Task, WorkerFolder
from vicur.training.world import World
from vicur.wording import differences, listed

_POLL_SECONDS = 0.2
# The same files may be in different places on different machines. Their hashes are compared.
_MAY_DIFFER = "config.teacher.path"


def launch(
    config: TrainConfig,
    inputs: Mapping[str, Path],
    output: Path,
    context: Context,
    processes: int,
    device: str,
    machines: Machines,
) -> dict[str, Any]:
    """Train in ``processes`` processes on this machine, which is machine 0, together with those of the other machines.

    Returns:
        The summary of the training.

    Raises:
        VicurError: the error of the worker that failed first.
    """
    if machines.rank > 0:
        raise VicurError(
            f"the training step must run on machine 0, but PET_NODE_RANK is {machines.rank}.",
            where="environment variables",
            remedy="Run the command vicur train on the other machines.",
        )
    fields = {name: getattr(context, name) for name in ("run_id", "seed", "identity", "checkpoints", "fork_from")}
    fields |= {"work": str(context.work), "mlflow_run_id": context.tracker.run_id}
    folder = WorkerFolder(context.work / "processes")
    folder.clear()
    task = _task(config, inputs, output, device, fields, context.events.stage)
    _run_workers(folder, task, processes, machines, Relay(folder, context))
    if not folder.summary.exists():
        raise _worker_lost(0)
    summary: dict[str, Any] = json.loads(folder.summary.read_text(encoding="utf-8"))
    return summary


def assist(
    config: TrainConfig, inputs: Mapping[str, Path], seed: int, processes: int, device: str, machines: Machines
) -> None:
    """Train in ``processes`` processes on this machine, which is not machine 0 and writes no output.

    Raises:
        VicurError: the error of the worker that failed first.
    """
    with tempfile.TemporaryDirectory(prefix="vicur-") as temporary:
        fields = {"run_id": "", "seed": seed, "work": temporary}
        folder = WorkerFolder(Path(temporary) / "processes")
        folder.clear()
        task = _task(config, inputs, Path(temporary) / "student", device, fields, "train")
        _run_workers(folder, task, processes, machines, None)


def _task(
    config: TrainConfig, inputs: Mapping[str, Path], output: Path, device: str, fields: dict[str, Any], label: str
) -> Task:
    paths = {name: str(path.absolute()) for name, path in inputs.items()}
    return Task(config.model_dump(mode="json"), paths, str(output.absolute()), device, fields, label)


def _run_workers(folder: WorkerFolder, task: Task, processes: int, machines: Machines, relay: Relay | None) -> None:
    folder.task.write_text(json.dumps(asdict(task)), encoding="utf-8")
    with lifeline(folder.lifeline), StopFlag() as stop_flag:
        workers = subprocess.Popen(_torchrun(folder, processes, machines), start_new_session=True)
        try:
            while workers.poll() is None:
                if stop_flag.is_set and not folder.begun.exists():
                    # torchrun may wait for the other machines for a long time, and has nothing to save.
                    raise _stopped_early()
                if stop_flag.is_set:
                    folder.stop.touch()
                if relay is not None:
                    relay.forward()
                time.sleep(_POLL_SECONDS)
        finally:
            if workers.poll() is None:
                os.killpg(workers.pid, signal.SIGKILL)
                workers.wait()
            if relay is not None:
                relay.forward()
    if folder.error.exists():
        report = json.loads(folder.error.read_text(encoding="utf-8"))
        raise VicurError(report.pop("problem"), **report)
    if workers.returncode:
        raise _worker_lost(workers.returncode)


def _torchrun(folder: WorkerFolder, processes: int, machines: Machines) -> list[str]:
    # For several machines torchrun reads its environment variables. On a single machine, leftovers of those must not count.
    rendezvous = ["--standalone"] if machines.count == 1 else []
    # The caller of the stage retries a failed training from its checkpoint, so torchrun must not restart workers.
    options = [
        *rendezvous,
        f"--nproc-per-node={processes}",
        "--max-restarts=0",
        "--module",
        "vicur.training.workers.worker",
    ]
    return [sys.executable, "-m", "vicur.processes.torchrun", str(folder.lifeline), *options, str(folder.folder)]


def _stopped_early() -> VicurError:
    return VicurError(
        "stopped after SIGTERM, before all processes had joined.",
        where="training",
        remedy="Run the same command again.",
        exit_code=EXIT_CODE,
        retryable=True,
    )


def _worker_lost(code: int) -> VicurError:
    return VicurError(
        f"a training process ended without reporting an error (torchrun exited with status {code}).",
        where="training.distribution",
        remedy="See its output above. A process that was killed, perhaps for lack of memory, prints nothing. Run the same command again to "
        "resume from the last checkpoint.",
        exit_code=1,
        retryable=True,
    )


def require_same_work(config: TrainConfig, inputs: Mapping[str, Path], seed: int, world: World) -> None:
    """Raise a ``VicurError``, on every rank, if machines differ in settings, inputs, seed, code or number of processes."""
    # Each machine got its own command, and may have been given another one.
    if world.size == world.local_size:
        return
    own: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "code": code_version("vicur.training.train"),
        "processes": world.local_size,
    }
    if world.local_rank == 0:
        # Once for each machine: inputs may be large.
        own["inputs"] = {name: tree_sha256(path) for name, path in sorted(inputs.items())}
    first, *others = (dict(flattened(each)) for each in world.gather(own))
    for rank, other in enumerate(others, start=1):
        keys = other.keys() - {_MAY_DIFFER}
        unlike = differences({key: first.get(key) for key in keys}, {key: other[key] for key in keys})
        if unlike:
            raise VicurError(
                f"process {rank} has a different task than process 0 ({listed(unlike, shown=8, separator='; ')}).",
                where="training.distribution",
                remedy="Run the same command on all machines, with the same code, dataset, cues and models.",
            )
