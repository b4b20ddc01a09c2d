"""The memory of a process and of all that it starts, sampled while it runs."""

from __future__ import annotations

import re
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PRIVATE = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_PAUSE = 0.05  # seconds between two samples, at least
_SHARE = 20  # and this many times what a sample took, which would otherwise slow down what is measured


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        seconds: wall-clock time.
        peak: largest memory of all its processes together, in bytes. A page that several share is counted once.
        processes: largest number of processes.
        cpu: processor time of all processes together, in seconds; 0 if the command was killed.
    """

    seconds: float
    peak: int
    processes: int
    cpu: float = 0.0


def measured(command: Sequence[str], kill_after: float | None = None) -> Measured:
    """Run a command to its end, or kill it with SIGKILL after some seconds.

    Raises:
        RuntimeError: if the command fails.
    """
    started, used = time.monotonic(), _children_seconds()
    running = subprocess.Popen(command)
    peak = count = 0
    while running.poll() is None:
        begun = time.monotonic()
        tree = _descendants(running.pid)
        peak, count = max(peak, sum(map(memory, tree))), max(count, len(tree))
        if kill_after is not None and time.monotonic() - started > kill_after:
            running.kill()
            running.wait()
            return Measured(time.monotonic() - started, peak, count)
        time.sleep(max(_PAUSE, _SHARE * (time.monotonic() - begun)))
    if running.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with status {running.returncode}")
    return Measured(time.monotonic() - started, peak, count, _children_seconds() - used)


def _children_seconds() -> float:
    # Of those that were waited for, and of theirs.
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            children = [path.read_text().split() for path in Path(f"/proc/{parent}/task").glob("*/children")]
        except OSError:  # it has ended
            continue
        found += [int(child) for each in children for child in each]
    return found


def memory(pid: int) -> int:
    """Return the memory of a process in bytes: its own pages, and its share of those that it shares. 0 if it has ended."""
    try:
        match = _PRIVATE.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
    except OSError:
        return 0
    return int(match[1]) << 10 if match else 0
