"""Running checks: concurrency, time limits, errors and secrets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from vicur.cluster.preflight import Check, Finding, markdown, passes, record, run_checks, summary
from vicur.errors import VicurError


def check(name: str, run, scope: str = "cluster") -> Check:
    return Check(name, scope, run)


def findings_of(*functions) -> list[Finding]:
    return [result.finding for result in run_checks([check(str(i), run) for i, run in enumerate(functions)], 5)]


def test_checks_run_concurrently_and_keep_their_order() -> None:
    meet = threading.Barrier(3, timeout=5)

    def look(word: str):
        def looked() -> Finding:
            meet.wait()
            return Finding("ok", word)

        return looked

    assert [finding.message for finding in findings_of(look("a"), look("b"), look("c"))] == ["a", "b", "c"]


def test_hanging_check_fails_without_hiding_others() -> None:
    release = threading.Event()

    def hang() -> Finding:
        release.wait(60)
        return Finding("ok", "late")

    hanging, other = run_checks([check("h", hang), check("o", lambda: Finding("ok", "fine"))], 0.3)
    release.set()
    assert (hanging.finding.status, other.finding.message) == ("failed", "fine")
    assert "no response within 0.3 s" in hanging.finding.message


def test_process_exits_despite_a_hanging_check() -> None:
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


def test_error_keeps_its_remedy_and_an_unexpected_one_is_reported_as_a_defect() -> None:
    expected, unexpected = findings_of(
        raising(VicurError("is torn.", where="file", remedy="Replace it.")), raising(RuntimeError("boom\ntrace"))
    )
    assert expected == Finding("failed", "file: is torn.", "Replace it.")
    assert (unexpected.status, unexpected.message) == ("failed", "RuntimeError: boom")


def test_secrets_are_masked_in_findings() -> None:
    (finding,) = findings_of(raising(RuntimeError("GET http://ann:hunter2@host/?token=abc123 failed")))
    assert "hunter2" not in finding.message
    assert "abc123" not in finding.message


def test_failed_check_outside_the_requested_scopes_is_missing() -> None:
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
    as_json = record(results, ("laptop", "cluster"))
    assert as_json["ok"] is False
    assert [each["status"] for each in as_json["checks"]] == ["ok", "failed", "warning"]


@pytest.mark.parametrize("count", [0, 40])
def test_any_number_of_checks_can_run(count: int) -> None:
    assert len(findings_of(*[lambda: Finding("ok", "fine")] * count)) == count
