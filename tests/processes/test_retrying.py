"""What failed temporarily is repeated, with pauses that a signal ends; nothing else is."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import weakref

import pytest

from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy, retried
from vicur.processes.signals import StopFlag, stop_error

AT_ONCE = RetryPolicy(3, first=0.002)
AWAY = VicurError("MLflow does not respond.", remedy="Start it.", retryable=True)


class Work:
    """Work that raises each error in turn and then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.lines: list[str] = []

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls

    def run(self, policy: RetryPolicy = AT_ONCE) -> int:
        return retried(self, policy, self.lines.append)


def test_work_is_repeated_after_temporary_failures_and_each_pause_is_reported() -> None:
    work = Work(AWAY, AWAY)
    assert work.run() == 3
    assert work.lines == [f"attempt {n} of 4 in 0 s: MLflow does not respond. Start it." for n in (2, 3)]


def test_the_last_failure_is_raised_when_no_attempt_is_left() -> None:
    work = Work(*[VicurError(f"failure {n}.", remedy="Wait.", retryable=True) for n in range(9)])
    with pytest.raises(VicurError, match=r"failure 3\."):
        work.run()
    assert work.calls == 4


@pytest.mark.parametrize("error", [VicurError("is torn.", remedy="Replace it."), ZeroDivisionError()])
def test_a_wrong_input_and_a_defect_fail_at_once(error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        work.run()
    assert (work.calls, work.lines) == (1, [])


def test_without_retries_nothing_is_repeated() -> None:
    work = Work(AWAY)
    with pytest.raises(VicurError):
        work.run(RetryPolicy(0))
    assert work.calls == 1


def test_pauses_grow_with_a_random_part_and_are_bounded_in_total(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    # In a long test session, each of the 165 collections takes a second.
    monkeypatch.setattr("vicur.processes.retrying.gc.collect", lambda: 0)
    for _ in range(50):
        with pytest.raises(VicurError):
            Work(*[AWAY] * 4).run(RetryPolicy(3))
    for number, (low, high) in enumerate([(10, 20), (20, 30), (40, 50)]):
        of_this_retry = pauses[number::3]
        assert low <= min(of_this_retry) < max(of_this_retry) <= high
    pauses.clear()
    work = Work(*[AWAY] * 99)
    with pytest.raises(VicurError):
        work.run(RetryPolicy(98, give_up=600))
    assert 600 <= sum(pauses) < 600 + 160
    assert work.calls < 20


def test_work_that_sigterm_stopped_is_not_repeated_by_the_same_process() -> None:
    def work() -> None:
        calls.append(1)
        with StopFlag() as flag:
            os.kill(os.getpid(), signal.SIGTERM)
            assert flag.is_set
            raise stop_error("stopped after SIGTERM.")

    calls: list[int] = []
    with pytest.raises(VicurError, match="stopped after SIGTERM"):
        retried(work, AT_ONCE, print)
    assert len(calls) == 1


def test_what_a_failed_attempt_held_in_memory_is_free_before_the_next_one() -> None:
    class Model:
        pass

    def work() -> bool:
        if held:
            gc.collect()
            return held[0]() is None
        model = Model()
        held.append(weakref.ref(model))
        try:
            raise OSError("no route")
        except OSError as error:
            raise VicurError("lost.", remedy="Wait.", retryable=True) from error

    held: list[weakref.ref[Model]] = []
    assert retried(work, AT_ONCE, print)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_pause_at_once(number: signal.Signals) -> None:
    script = """
        from vicur.errors import VicurError
        from vicur.processes.retrying import RetryPolicy, retried
        def work():
            raise VicurError("away.", remedy="Wait.", retryable=True)
        retried(work, RetryPolicy(3, first=600.0), lambda line: print(line, flush=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert re.match(r"attempt 2 of 4 in \d+ s: away\.", process.stdout.readline())
        began = time.monotonic()
        process.send_signal(number)
        process.wait(20)
    assert process.returncode != 0
    assert time.monotonic() - began < 10
