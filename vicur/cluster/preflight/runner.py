"""Run checks concurrently, each with a time limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from queue import Empty, Queue
from threading import Thread

from vicur.cluster.preflight.check import Check, Finding, Result
from vicur.errors import VicurError
from vicur.redaction import redacted


def run_checks(checks: Sequence[Check], seconds: float) -> list[Result]:
    """Run all checks at once. A check that takes longer than ``seconds`` has failed."""
    answers: Queue[tuple[int, Finding, float]] = Queue()
    started = time.monotonic()
    for number, check in enumerate(checks):
        # A check that hangs cannot be stopped. Unlike a pool's threads, a daemon does not keep the process from exiting.
        Thread(target=_run, args=(number, check, answers), name=check.name, daemon=True).start()
    results: dict[int, Result] = {}
    while len(results) < len(checks):
        try:
            number, finding, took = answers.get(timeout=max(0.0, started + seconds - time.monotonic()))
        except Empty:
            break
        results[number] = Result(checks[number], finding, took)
    return [results.get(number) or Result(check, _timed_out(seconds), seconds) for number, check in enumerate(checks)]


def _run(number: int, check: Check, answers: Queue[tuple[int, Finding, float]]) -> None:
    started = time.monotonic()
    try:
        finding = check.run()
    except VicurError as error:
        where = f"{error.where}: " if error.where else ""
        finding = Finding("failed", f"{where}{error.problem}", error.remedy, error.retryable)
    except Exception as error:  # noqa: BLE001 (an unexpected error in one check must not hide the findings of the others)
        first = str(error).partition("\n")[0]
        finding = Finding("failed", f"{type(error).__name__}: {first}", "This is a defect in vicur. Please report it.")
    # Here and not in each check: error messages of any library may contain a password or token.
    safe = replace(finding, message=redacted(finding.message), remedy=redacted(finding.remedy))
    answers.put((number, safe, time.monotonic() - started))


def _timed_out(seconds: float) -> Finding:
    return Finding(
        "failed",
        f"no response within {seconds:g} s",
        "Look for a network policy, proxy or firewall that drops packets. A server that is down refuses the connection at once.",
    )
