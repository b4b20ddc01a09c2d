"""Answer a benchmark in several processes of this machine, each on a GPU if there are any: ``python -m ...processes REQUEST``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from vicur.config.evaluation import EvaluationConfig
from vicur.data.dataset import read_manifest
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answering import Shard, answer
from vicur.evaluation.benchmarks.answers import read_record
from vicur.evaluation.benchmarks.parts import answered_so_far
from vicur.evaluation.benchmarks.staging import SPLIT

_POLL = 0.2  # seconds
_REPORT = 5.0
_SHOWN_LINES = 6


class _Request(BaseModel):
    """What a process is to do."""

    dataset: Path
    model: Path
    output: Path
    evaluation: EvaluationConfig
    seed: int
    kept: str | None = None
    number: int
    count: int


def answer_together(
    processes: int,
    dataset: Path,
    model: Path,
    output: Path,
    config: EvaluationConfig,
    *,
    seed: int,
    kept: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Answer a benchmark with several processes. Arguments are those of :func:`~vicur.evaluation.benchmarks.answering.answer`.

    Raises:
        VicurError: if a process failed. The others are stopped; their answers are kept.
    """
    total = read_manifest(dataset).examples.get(SPLIT, 0)
    with tempfile.TemporaryDirectory(prefix="vicur-answers-") as name:
        folder, started = Path(name), []
        try:
            for number in range(processes):
                request = _Request(
                    dataset=dataset,
                    model=model,
                    output=output,
                    evaluation=config,
                    seed=seed,
                    kept=kept,
                    number=number,
                    count=processes,
                )
                started.append(_start(request, folder))
            _wait(started, folder, lambda: on_progress(answered_so_far(output), total) if on_progress else None)
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()
                process.wait()
    # Raises an error if rows are missing.
    read_record(output)


def _start(request: _Request, folder: Path) -> subprocess.Popen[bytes]:
    file = folder / f"{request.number}.json"
    file.write_text(request.model_dump_json(exclude_none=True), encoding="utf-8")
    environment = {**os.environ, **_own_gpu(request.number)}
    with _log(folder, request.number).open("wb") as log:
        command = [sys.executable, "-m", __name__, str(file)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )


def _own_gpu(number: int) -> dict[str, str]:
    """Return the variable that shows a process one of the visible GPUs."""
    import torch

    count = torch.cuda.device_count()
    if count == 0:
        return {}
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = given.split(",") if given else [str(each) for each in range(count)]
    return {"CUDA_VISIBLE_DEVICES": visible[number % len(visible)]}


def _log(folder: Path, number: int) -> Path:
    return folder / f"{number}.log"


def _wait(processes: list[subprocess.Popen[bytes]], folder: Path, report: Callable[[], object]) -> None:
    reported = time.monotonic()
    while any(process.poll() is None for process in processes):
        _require_success(processes, folder)
        if time.monotonic() - reported > _REPORT:
            report()
            reported = time.monotonic()
        time.sleep(_POLL)
    _require_success(processes, folder)


def _require_success(processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    for number, process in enumerate(processes):
        if process.poll() not in (None, 0):
            lines = _log(folder, number).read_text(encoding="utf-8", errors="replace").splitlines()
            tail = "\n  ".join(line[:300] for line in lines[-_SHOWN_LINES:])
            raise VicurError(
                f"process {number} of {len(processes)} failed (exit status {process.returncode}):\n  {tail}\n",
                where="benchmarks.processes",
                remedy="Correct the cause, and run the step again: answers so far are kept.",
            )


def main() -> None:
    request = _Request.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        answer(
            request.dataset,
            request.model,
            request.output,
            request.evaluation,
            seed=request.seed,
            shard=Shard(request.number, request.count),
            kept=request.kept,
        )
    except VicurError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
