"""Workers are checked with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import jobs
from vicur.errors import VicurError
from vicur.processes import workers
from vicur.processes.workers import run_tasks, usable_cpus


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _alive(pid: int) -> bool:
    # A zombie has ended, even if nobody has waited for it.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_each_task_has_its_result(processes: int) -> None:
    results = dict(run_tasks(jobs.double, range(7), processes))
    assert {number: result[0] for number, result in results.items()} == {n: 2 * n for n in range(7)}
    pids = {result[1] for result in results.values()}
    assert pids == {os.getpid()} if processes == 1 else os.getpid() not in pids
    assert not list(run_tasks(jobs.double, [], processes))


def test_a_worker_imports_only_what_its_function_needs_and_computes_with_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (_, found), _ = run_tasks(jobs.threads_and_modules, [0, 1], 2)
    assert found["threads"] == "1"
    assert not {"pytest", "torch", "kfp"} & set(found["modules"])


def test_errors_of_a_task_are_raised_as_they_were() -> None:
    with pytest.raises(VicurError) as caught:
        list(run_tasks(jobs.fail, ["user", "sleep"], 2))
    assert str(caught.value) == "file:row 1: is wrong. Correct it."
    assert (caught.value.exit_code, caught.value.retryable) == (7, True)
    with pytest.raises(OSError, match="No space left on device") as disk:
        list(run_tasks(jobs.fail, ["disk", "sleep"], 2))
    assert disk.value.filename == "/full"
    with pytest.raises(RuntimeError, match=r"(?s)a worker failed:.*KeyError: 'missing'"):
        list(run_tasks(jobs.fail, ["bug", "sleep"], 2))


def test_a_killed_worker_is_a_temporary_failure() -> None:
    with pytest.raises(VicurError, match="a worker process was killed by SIGKILL") as caught:
        list(run_tasks(jobs.fail, ["killed", "sleep"], 2))
    assert caught.value.retryable


def test_progress_is_reported_by_task() -> None:
    seen: list[tuple[int, int]] = []
    assert dict(run_tasks(jobs.report_steps, [4, 0], 2, lambda *step: seen.append(step))) == {0: 4, 1: 0}
    assert seen
    assert {number for number, _ in seen} == {0}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(number: signal.Signals, tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.processes.jobs", *map(str, files)], stderr=subprocess.DEVNULL
    )
    assert _eventually(lambda: all(file.exists() and file.read_text() for file in files))
    pids = [int(file.read_text()) for file in files]
    assert all(map(_alive, pids))
    parent.send_signal(number)
    parent.wait(20)
    assert _eventually(lambda: not any(map(_alive, pids)))


def test_a_closed_generator_stops_its_workers(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("one", "two")]
    running = run_tasks(jobs.fail, ["sleep", "bug", *files], 2)
    started = time.monotonic()
    with pytest.raises(RuntimeError):
        next(running)
    assert time.monotonic() - started < 30


def test_a_quota_of_a_container_limits_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    for text, count in (("150000 100000", 2), ("max 100000", 16), ("10000 100000", 1)):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(workers, "Path", lambda _name: tmp_path / "cpu.max")
        assert usable_cpus() == count
