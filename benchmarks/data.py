"""Reading a dataset, compared with ``datasets`` and WebDataset, and preparing one: speed, memory, and the cost of a kill.

    python -m benchmarks.data [--rows 20000] [--rounds 3] [--json FILE]     # both
    python -m benchmarks.data --prepare 8000 100000 [--kill]                # only prepare, with as many rows
    python -m benchmarks.data --prepare 1000000 --processes 2

Examples have one PNG of 32 x 32 pixels, no two of them alike. Reading is processor time in one process with one thread, the best of
several rounds in which the libraries alternate: all read, decode to RGB, and touch the question. Preparing is wall-clock time from the
source, a parquet file, to the dataset, including the start of Python. ``faster by`` is the time of one process over that of several in
the same run of the benchmark. ``cpu_s`` is the processor time of all processes, and ``peak_mb`` the largest memory of them together
(proportional set size, so a page that several share counts once). ``killed`` is a run that was killed with SIGKILL at half of that time
and started again: what both took, over the time of a run that was not killed. All runs must give the same bytes.

Requires ``datasets`` and ``webdataset`` for the comparison (``make bench`` builds the environment).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.process_tree import measured
from benchmarks.reading.loaders import LIBRARIES, write_tar
from benchmarks.reporting import report
from benchmarks.source import write_source
from vicur.processes.threads import limit_threads
from vicur.processes.workers import default_processes
from vicur.storage.folders import tree_sha256


def _command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.reading.{module}", *map(str, arguments)]


def compare_reading(folder: Path, rows: int, rounds: int) -> list[dict[str, Any]]:
    """Read the same examples with each library, and return their speeds and our lead."""
    data = folder / "data"
    subprocess.run(_command("prepare", write_source(folder / "source", rows), folder / "work", data, 0), check=True)
    write_tar(data)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name in LIBRARIES:
            found = json.loads(
                subprocess.run(_command("loaders", name, data), check=True, stdout=subprocess.PIPE).stdout
            )
            if found["examples"] != rows:
                raise RuntimeError(f"{name} read {found['examples']} of {rows} examples")
            best[name] = min(best.get(name, float("inf")), found["seconds"])
    return [
        {"library": name, "examples/s": rows / seconds, "vicur is faster by": seconds / best["vicur"]}
        for name, seconds in best.items()
    ]


def measure_prepare(folder: Path, rows: int, processes: Sequence[int], *, kill: bool) -> list[dict[str, Any]]:
    """Prepare a source with each number of processes, and with each after a kill at half of the time."""
    source = write_source(folder / f"source-{rows}", rows)
    results: list[dict[str, Any]] = []
    seconds: dict[int, float] = {}
    hashes = set()
    for count in processes:
        run = _command("prepare", source, folder / "work", folder / "data", count)
        whole = measured(run)
        hashes.add(_cleared(folder))
        seconds[count] = whole.seconds
        row = {
            "rows": rows,
            "processes": count,
            "rows/s": rows / whole.seconds,
            "faster by": seconds[1] / whole.seconds if count > 1 and 1 in seconds else None,
            "cpu_s": whole.cpu,
            "peak_mb": whole.peak / 1e6,
            "killed": None,
        }
        if kill:
            first = measured(run, kill_after=whole.seconds / 2)
            second = measured(run)
            hashes.add(_cleared(folder))
            row["killed"] = (first.seconds + second.seconds) / whole.seconds
        results.append(row)
    shutil.rmtree(source)
    if len(hashes) > 1:
        raise RuntimeError("the runs gave different datasets")
    return results


def _cleared(folder: Path) -> str:
    found = tree_sha256(folder / "data")
    for each in ("data", "work"):
        shutil.rmtree(folder / each)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepare", type=int, nargs="+", metavar="ROWS", help="only prepare, with as many rows each")
    parser.add_argument("--processes", type=int, nargs="+", default=list(dict.fromkeys((1, default_processes()))))
    parser.add_argument("--kill", action="store_true", help="with --prepare: measure the cost of a kill, too")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    limit_threads(os.environ)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.prepare:
            rows = [
                row
                for count in arguments.prepare
                for row in measure_prepare(folder, count, arguments.processes, kill=arguments.kill)
            ]
            report("Preparing a dataset", rows, arguments.json)
            return
        reading = compare_reading(folder, arguments.rows, arguments.rounds)
        report("Reading and decoding", reading, None)
        for each in ("data", "work"):
            shutil.rmtree(folder / each)
        preparing = measure_prepare(folder, arguments.rows, arguments.processes, kill=True)
        report("Preparing a dataset", preparing, None)
        if arguments.json is not None:
            arguments.json.write_text(
                json.dumps({"reading": reading, "preparing": preparing}, indent=1), encoding="utf-8"
            )


if __name__ == "__main__":
    main()
