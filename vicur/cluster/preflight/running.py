"""Runs checks side by side, each with a time limit of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from queue import Empty, Queue
from threading import Thread

from vicur.cluster.preflight.finding import Check, Finding, Result
from vicur.errors import VicurError
from vicur.redaction import redacted


def run_checks(checks: Sequence[Check], seconds: float) -> list[Result]:
    """Looks at everything at once; what takes longer than ``seconds`` has failed.

    A check that hangs cannot be stopped. Its thread is a daemon, so that the process ends without it; a pool of threads would wait.
    """
    answers: Queue[tuple[int, Finding, float]] = Queue()
    began = time.monotonic()
    for number, check in enumerate(checks):
        Thread(target=_look, args=(number, check, answers), name=check.name, daemon=True).start()
    found: dict[int, Result] = {}
    while len(found) < len(checks):
        try:
            number, finding, took = answers.get(timeout=max(0.0, began + seconds - time.monotonic()))
        except Empty:
            break
        found[number] = Result(checks[number], finding, took)
    return [found.get(number) or Result(check, _too_slow(seconds), seconds) for number, check in enumerate(checks)]


def _look(number: int, check: Check, answers: Queue[tuple[int, Finding, float]]) -> None:
    began = time.monotonic()
    try:
        finding = check.look()
    except VicurError as error:
        where = f"{error.where}: " if error.where else ""
        finding = Finding("failed", f"{where}{error.problem}", error.remedy)
    except Exception as error:  # noqa: BLE001 (one check that fails of something unforeseen must not hide the others)
        first = str(error).partition("\n")[0]
        finding = Finding("failed", f"{type(error).__name__}: {first}", "This was not foreseen: please report it.")
    clean = Finding(finding.status, redacted(finding.what), redacted(finding.remedy))
    answers.put((number, clean, time.monotonic() - began))


def _too_slow(seconds: float) -> Finding:
    return Finding(
        "failed",
        f"no answer in {seconds:g} s",
        "Look for a network policy, a proxy or a firewall in between: what refuses a connection answers at once.",
    )
