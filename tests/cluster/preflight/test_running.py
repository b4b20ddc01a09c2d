"""Checks side by side: time limits, what goes wrong in them, and secrets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from vicur.cluster.preflight import Check, Finding, markdown, passes, record, run_checks, summary
from vicur.errors import VicurError


def check(name: str, look, scope: str = "cluster") -> Check:
    return Check(name, scope, look)


def found(*looks) -> list[Finding]:
    return [result.finding for result in run_checks([check(str(i), look) for i, look in enumerate(looks)], 5)]


def test_checks_run_at_once_and_come_back_in_their_order() -> None:
    meet = threading.Barrier(3, timeout=5)

    def look(word: str):
        def looked() -> Finding:
            meet.wait()
            return Finding("ok", word)

        return looked

    assert [finding.what for finding in found(look("a"), look("b"), look("c"))] == ["a", "b", "c"]


def test_a_check_that_hangs_fails_and_hides_no_other() -> None:
    release = threading.Event()

    def hang() -> Finding:
        release.wait(60)
        return Finding("ok", "late")

    hanging, other = run_checks([check("h", hang), check("o", lambda: Finding("ok", "fine"))], 0.3)
    release.set()
    assert (hanging.finding.status, other.finding.what) == ("failed", "fine")
    assert "no answer in 0.3 s" in hanging.finding.what


def test_a_process_does_not_wait_for_a_check_that_hangs() -> None:
    code = (
        "import time; from vicur.cluster.preflight import Check, run_checks\n"
        "(result,) = run_checks([Check('h', 'cluster', lambda: time.sleep(600))], 0.2)\nprint(result.finding.status)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "failed\n"
    assert time.monotonic() - began < 100


def raising(error: Exception):
    def look() -> Finding:
        raise error

    return look


def test_an_error_keeps_its_remedy_and_a_surprise_is_told_as_one() -> None:
    told, surprise = found(
        raising(VicurError("is torn.", where="file", remedy="Replace it.")), raising(RuntimeError("boom\ntrace"))
    )
    assert told == Finding("failed", "file: is torn.", "Replace it.")
    assert (surprise.status, surprise.what) == ("failed", "RuntimeError: boom")


def test_no_secret_comes_out_of_a_check() -> None:
    (finding,) = found(raising(RuntimeError("GET http://ann:hunter2@host/?token=abc123 failed")))
    assert "hunter2" not in finding.what
    assert "abc123" not in finding.what


def test_what_nobody_asked_for_is_missing_and_fails_nothing() -> None:
    results = run_checks(
        [
            check("here", lambda: Finding("ok", "fine"), "laptop"),
            check("there", lambda: Finding("failed", "no | cluster", "Get one."), "cluster"),
            check("odd", lambda: Finding("warning", "old", "Upgrade."), "cluster"),
        ],
        5,
    )
    assert passes(results, ("laptop",))
    assert not passes(results, ("laptop", "cluster"))
    assert summary(results, ("laptop",)) == "1 ok, 1 warning, 1 missing"
    assert summary(results, ("laptop", "cluster")) == "1 ok, 1 warning, 1 failed"
    assert "| missing | there | no \\| cluster | Get one. |" in markdown(results, ("laptop",))
    told = record(results, ("laptop", "cluster"))
    assert told["ok"] is False
    assert [each["status"] for each in told["checks"]] == ["ok", "failed", "warning"]


@pytest.mark.parametrize("count", [0, 40])
def test_any_number_of_checks_is_run(count: int) -> None:
    assert len(found(*[lambda: Finding("ok", "fine")] * count)) == count
