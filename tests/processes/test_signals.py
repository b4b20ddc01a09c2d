"""Signal handlers: stop at a safe point, stop at once, or pass the signal on."""

import os
import signal
import threading

import pytest

from vicur.errors import VicurError
from vicur.processes.machines import NODE_TASK
from vicur.processes.signals import (
    EXIT_CODE,
    StopFlag,
    StopOnSigterm,
    Stopped,
    handling,
    stop_error,
    stopped_by_signals,
)


@pytest.fixture(autouse=True)
def handlers():
    """Every test must restore the handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


def send(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_flag_is_set_by_sigterm_and_the_work_goes_on():
    with StopFlag() as flag:
        assert not flag.is_set
        send()
        assert flag.is_set
        # The next one kills the process.
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_flag_is_set_by_a_file(tmp_path):
    with StopFlag(tmp_path / "stop") as flag:
        assert not flag.is_set
        (tmp_path / "stop").touch()
        assert flag.is_set


def test_sigterm_interrupts_and_becomes_a_retryable_error_after_cleanup():
    cleaned = []

    def work() -> None:
        with StopOnSigterm():
            try:
                send()
                pytest.fail("not interrupted")
            finally:
                send()  # ignored: cleanup completes
                cleaned.append(True)

    with pytest.raises(VicurError, match="stopped after SIGTERM") as raised:
        work()
    assert cleaned
    assert (raised.value.exit_code, raised.value.retryable) == (EXIT_CODE, True)


def test_sigterm_is_ignored_once_the_work_is_done():
    with StopOnSigterm() as stop:
        stop.ignore_signals()
        send()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_interrupt_and_are_then_ignored(number):
    def work() -> None:
        with stopped_by_signals():
            try:
                send(number)
            finally:
                send(signal.SIGTERM)
                send(signal.SIGINT)

    with pytest.raises(Stopped) as raised:
        work()
    assert raised.value.number == number


def test_outside_the_main_thread_nothing_is_installed():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with handling(lambda *_: None, signal.SIGTERM):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_node_of_a_job_is_not_told_to_run_a_command(monkeypatch):
    monkeypatch.delenv(NODE_TASK, raising=False)
    assert "Run the same command again" in stop_error("stopped.").remedy
    monkeypatch.setenv(NODE_TASK, "{}")
    assert "command" not in stop_error("stopped.").remedy
    assert "Kueue readmits a preempted job" in stop_error("stopped.").remedy
