"""Run checks in separate processes, which end with this one, and whose failure costs one check only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vicur.processes.lifeline import lifeline

WORKER = "vicur.gpu_check.worker"
"""Module that a process runs."""
# Seconds for a process to end by itself. Threads of NCCL or of a driver that hangs may never do.
_GRACE = 10.0
_POLL_SECONDS = 0.05
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    # Tensors of 64 KB and more get separate pages, which are returned when they are freed.
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_ARENA_MAX": "1",
}


def in_processes(
    names: Sequence[str], settings: Mapping[str, Any], root: Path, deadline: float, processes: int = 1
) -> Iterator[dict[str, Any]]:
    """Make checks in one process after another, and yield the record of each: if a process dies, a new one continues after that check.

    Args:
        settings: of the checks.
        root: folder for tasks, results and logs.
        deadline: when the processes are ended, as ``time.monotonic`` counts. Checks that are left are not made.
        processes: how many make each check together. If one of them fails, all end.
    """
    left, number = list(names), 0
    while left:
        work = root / f"process-{number}"
        number += 1
        (work / "trainings").mkdir(parents=True)
        results, log, failed = work / "results.jsonl", work / "log.txt", False
        with _Worker(work, left, settings, processes) as worker:
            for record in worker.records(results, deadline):
                # Of several processes, the first to fail has ended the others, which may have reported that.
                if record["name"] not in left:
                    continue
                left.remove(record["name"])
                failed = processes > 1 and record["status"] == "failed"
                yield record
                if not left:
                    return
            code = worker.code
        if code is None:
            yield from ({"name": name, "status": "not checked", "detail": "the time was up"} for name in left)
            return
        # Several processes end after a failure, so the next check is not at fault.
        if not failed:
            yield {"name": left.pop(0), "status": "failed", "detail": _reason(code, log)}


class _Worker:
    """A process that makes checks, or torchrun with several. It ends with the block, and with this process."""

    def __init__(self, work: Path, names: Sequence[str], settings: Mapping[str, Any], processes: int) -> None:
        self._lifeline = work / "lifeline"
        self._held = lifeline(self._lifeline)
        task, results = work / "task.json", work / "results.jsonl"
        values = {"checks": list(names), "folder": str(work / "trainings"), "lifeline": str(self._lifeline)}
        task.write_text(json.dumps({**settings, **values}), encoding="utf-8")
        options = ["--standalone", f"--nproc-per-node={processes}", "--max-restarts=0", "--module"]
        torchrun = ["-m", "vicur.processes.torchrun", str(self._lifeline), *options]
        self._command = [sys.executable, *(torchrun if processes > 1 else ["-m"]), WORKER, str(task), str(results)]
        self._log = work / "log.txt"

    def __enter__(self) -> _Worker:
        self._held.__enter__()
        with self._log.open("wb") as file:
            # In a separate session: Ctrl-C ends this process, and with it the other.
            self._process = subprocess.Popen(
                self._command, stdout=file, stderr=file, env={**os.environ, **_ENVIRONMENT}, start_new_session=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        # All processes watch it, and those that they have started.
        self._held.__exit__(None, None, None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
            return
        self._process.kill()
        # Inside a driver that hangs, it ends later than this command, or never.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)

    @property
    def code(self) -> int | None:
        """The exit status, negative for a signal; ``None`` while it runs."""
        return self._process.poll()

    def records(self, results: Path, deadline: float) -> Iterator[dict[str, Any]]:
        """Yield records as they are written, until the process has ended or the deadline has passed."""
        seen = 0
        while True:
            # Before reading, so that nothing that it has written is missed.
            ended = self.code is not None
            records = _read(results)
            yield from records[seen:]
            seen = len(records)
            if ended or time.monotonic() > deadline:
                return
            time.sleep(_POLL_SECONDS)


def _read(results: Path) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    # The last line may be incomplete.
    lines = results.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _reason(code: int, log: Path) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"its process {how}" + (f": {lines[-1][:300]}" if lines else "")
