"""A complete local run, step by step: processor time, duration and memory.

    python -m benchmarks.run [CONFIG] [--set PATH=VALUE ...] [--json FILE]

Runs ``vicur run`` in an empty folder, without results to reuse and with an MLflow store of its own. While it runs, all of its processes are
sampled in /proc five times a second (Linux only). Processor seconds (user and system) of a process count for the step whose log it writes
to, with those before it opened the log. ``pipeline`` is all else: the command, the pipeline, and the server that steps are forked from,
with its imports. ``wall`` is the time between a step's first and last event. Processor time depends little on other work on the machine,
wall does. ``peak_mb`` is the largest memory of a step's processes together; a page that several processes share is counted in parts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process_tree import memory
from benchmarks.reporting import report
from vicur.stage.events import read_events

_PAUSE = 0.2  # seconds between two samples
_MEMORY_EVERY = 10  # samples; the kernel takes a while to add up the memory of a process
_TICK = os.sysconf("SC_CLK_TCK")
_OTHER = "pipeline"


@dataclass
class Sampler:
    """Accumulates what the processes of a command have used, by step."""

    command: int  # its process, the leader of its process group
    seconds: dict[int, float] = field(default_factory=dict)  # processor time by process
    step: dict[int, str] = field(default_factory=dict)  # step by process
    peak: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))  # bytes by step
    _groups: set[int] = field(default_factory=set)

    def sample(self, *, with_memory: bool) -> None:
        """Read all processes of the command."""
        alive, held = {self.command}, defaultdict(int)
        self._groups.add(self.command)
        # Parents have smaller numbers than their children, but for a wrap of the counter, which the groups make up for.
        for pid in sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
            stat = _stat(pid)
            if stat is None or not (stat.parent in alive or stat.group in self._groups or pid == self.command):
                continue
            alive.add(pid)
            self._groups.add(stat.group)
            self.seconds[pid] = stat.seconds
            if pid not in self.step and (step := _step(pid)):
                self.step[pid] = step
            if with_memory:
                held[self.step.get(pid, _OTHER)] += memory(pid)
        for step, size in held.items():
            self.peak[step] = max(self.peak[step], size)

    def by_step(self) -> dict[str, float]:
        """Return processor seconds by step."""
        totals: defaultdict[str, float] = defaultdict(float)
        for pid, seconds in self.seconds.items():
            totals[self.step.get(pid, _OTHER)] += seconds
        return dict(totals)


@dataclass(frozen=True)
class _Stat:
    parent: int
    group: int
    seconds: float  # of processor time, user and system


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended
        return None
    fields = text.rpartition(")")[2].split()
    return _Stat(int(fields[1]), int(fields[2]), (int(fields[11]) + int(fields[12])) / _TICK)


def _step(pid: int) -> str | None:
    """Return the step whose log the process writes to."""
    try:
        output = Path(f"/proc/{pid}/fd/1").readlink()
    except OSError:
        return None
    own = output.parent.name == "logs" and output.suffix == ".log"
    return output.stem if own and output.stem != _OTHER else None


def measured(arguments: list[str], folder: Path) -> list[dict[str, Any]]:
    """Run ``vicur run`` with these arguments in an empty folder and return one row per step.

    Raises:
        SystemExit: if the run fails.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "VICUR_"))}
    began = time.monotonic()
    with (folder / "output").open("w") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "vicur", "run", *arguments],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sampler, count = Sampler(running.pid), 0
        while running.poll() is None:
            sampler.sample(with_memory=count % _MEMORY_EVERY == 0)
            count += 1
            time.sleep(_PAUSE)
    if running.returncode:
        raise SystemExit((folder / "output").read_text())
    wall = time.monotonic() - began
    (log,) = folder.glob("runs/latest/events.jsonl")
    times: defaultdict[str, list[float]] = defaultdict(list)
    for event in read_events(log)[0]:
        times[event.stage.replace(" ", "-")].append(event.time)
    seconds = sampler.by_step()
    names = [*times, *(name for name in seconds if name not in times)]
    rows = [_row(name, seconds.get(name, 0.0), times.get(name), sampler.peak[name]) for name in names]
    return [*rows, {"step": "all", "cpu_s": sum(seconds.values()), "wall_s": wall, "peak_mb": ""}]


def _row(name: str, seconds: float, times: list[float] | None, peak: int) -> dict[str, Any]:
    wall = max(times) - min(times) if times else ""
    return {"step": name, "cpu_s": seconds, "wall_s": wall, "peak_mb": peak / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/local.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override a setting")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    overrides = [each for override in options.set for each in ("--set", override)]
    with tempfile.TemporaryDirectory() as folder:
        rows = measured([str(options.config.absolute()), *overrides], Path(folder))
    report(f"vicur run {options.config} ({os.cpu_count()} processors)", rows, options.json)


if __name__ == "__main__":
    main()
