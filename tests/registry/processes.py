"""Register students in separate processes: ``python -m tests.registry.processes JOBS``, each job in a fork.

Importing torch and MLflow takes longer than a registration, so all jobs share the imports of one parent process. A job is
a folder to work in, inputs and run id, and optionally a method of MLflow's client in which the process is killed.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

_IMPORTED = (
    "mlflow.pyfunc",
    "mlflow.store.artifact.local_artifact_repo",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.types.schema",
    "tests.registry.factory",
    "vicur.evaluation.evaluate",
    "vicur.registry.decision",
)


@dataclass(frozen=True)
class Job:
    """One registration."""

    folder: str
    inputs: dict[str, str]
    run_id: str = "run-1"
    killed_in: str | None = None


def job(folder: Path, inputs: Mapping[str, Path], run_id: str = "run-1", killed_in: str | None = None) -> Job:
    return Job(str(folder), {name: str(path) for name, path in inputs.items()}, run_id, killed_in)


def run_jobs(*jobs: Job) -> list[tuple[int, str]]:
    """Run jobs at the same time; return the exit status of each and the version that it registered."""
    command = [sys.executable, "-m", "tests.registry.processes", json.dumps([asdict(each) for each in jobs])]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]


def _run(each: Job) -> None:
    from mlflow import MlflowClient

    from tests.registry.factory import run_register

    def die(client: MlflowClient, *args: str, **_: object) -> None:
        if each.killed_in == "log_model_artifacts":
            # Only part of the files arrives.
            client.log_model_artifact(args[0], str(Path(args[1]) / "MLmodel"))
        os._exit(9)

    if each.killed_in is not None:
        setattr(MlflowClient, each.killed_in, die)
    summary = run_register({name: Path(path) for name, path in each.inputs.items()}, run_id=each.run_id)
    Path(f"{each.run_id}.version").write_text(summary.version)


def _run_and_exit(each: Job) -> NoReturn:
    # os._exit skips the exit handlers of the parent, which the fork has inherited.
    try:
        os.chdir(each.folder)
        _run(each)
    except BaseException:  # noqa: BLE001 (reported, and the process ends)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    for module in _IMPORTED:
        importlib.import_module(module)

    jobs = [Job(**each) for each in json.loads(sys.argv[1])]
    children = []
    for each in jobs:
        child = os.fork()
        if child == 0:
            _run_and_exit(each)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    versions = [Path(each.folder) / f"{each.run_id}.version" for each in jobs]
    found = [path.read_text() if path.exists() else "" for path in versions]
    print(json.dumps(list(zip(statuses, found, strict=True))))


if __name__ == "__main__":
    main()
