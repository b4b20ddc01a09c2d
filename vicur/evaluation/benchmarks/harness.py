"""Runs the harness in its own environment, and believes nothing but a verdict for every row.

VLMEvalKit exits with status 0 after a crash, after a missing data set, and after a judge that never answered. So its exit status is
ignored if it is 0, and a result counts only if it is complete.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vicur.errors import VicurError
from vicur.evaluation.benchmarks.relay import Relay

PYTHON_VARIABLE = "VICUR_BENCHMARKS_PYTHON"
"""Environment variable with the interpreter of the harness's environment."""
DEFAULT_PYTHON = Path(".venv-benchmarks/bin/python")
VERSION = "0.0.20"
"""Release of ms-vlmeval, VLMEvalKit's wheel, that the workers and the definitions were written for."""
WORKER = Path(__file__).with_name("harness_worker.py")
_PROCESSES = 8  # threads that ask the judge
_POLL = 0.2  # seconds
_SHOWN_LINES = 8


class Verdict(BaseModel, frozen=True):
    """The harness's verdict on one row."""

    index: str
    correct: bool
    judged: bool
    unparsed: bool
    extracted: str | None
    log: str
    failed: bool


class HarnessResult(BaseModel, frozen=True):
    """What the worker writes: verdicts, and the harness's own aggregate, if it prints the same metric as we compute."""

    version: str
    score: float | None
    rows: list[Verdict]


@dataclass(frozen=True)
class Harness:
    """The harness's environment."""

    python: Path
    worker: Path = WORKER

    @classmethod
    def found(cls, python: Path | None, setting: str = "--harness") -> Harness:
        """Return the harness of an interpreter: the one given, of the environment variable, or of ``make benchmarks-env``.

        Raises:
            VicurError: if there is none.
        """
        chosen = python or Path(os.environ.get(PYTHON_VARIABLE) or DEFAULT_PYTHON)
        if not chosen.is_file():
            raise VicurError(
                "is not there, so that there is no harness to score with.",
                where=f"{setting} {chosen}",
                remedy=f"Run `make benchmarks-env`, name its interpreter ({PYTHON_VARIABLE}), or score by rules, with the judge none.",
            )
        # The harness runs in another folder.
        return cls(chosen.absolute())

    def score(
        self, dataset: str, rows: Sequence[Mapping[str, str]], responses: Sequence[str], relay: Relay, work: Path
    ) -> HarnessResult:
        """Score responses to the rows of one of the harness's data sets.

        Args:
            rows: columns of each row, without images.
            responses: a response for each row.
            relay: relay to the judge.
            work: empty folder for files.

        Raises:
            VicurError: if the judge failed, the harness crashed, or a verdict is missing.
        """
        _write_table(rows, work / "rows.tsv")
        (work / "predictions.json").write_text(json.dumps([*responses]), encoding="ascii")
        request = {"dataset": dataset, "judge": relay.url, "processes": _PROCESSES}
        (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        log = work / "harness.log"
        status = self._run(work, log, relay)
        if relay.failed.is_set():
            raise _with_judge(relay)
        return _checked(work / "result.json", [row["index"] for row in rows], status, log)

    def _run(self, work: Path, log: Path, relay: Relay) -> int:
        """Run the worker until it ends or the judge fails. Returns its exit status."""
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        # No proxy: the relay is on loopback. No settings of the harness either.
        environment |= {"LMUData": str(work), "NO_PROXY": "*", "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "relay"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.python, self.worker, work / "request.json"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=work,
                start_new_session=True,
            )
            try:
                while True:
                    try:
                        return process.wait(timeout=_POLL)
                    except subprocess.TimeoutExpired:
                        if relay.failed.is_set():
                            return -1
            finally:
                # Its own process group: the harness may have started others.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _write_table(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    names = [*dict.fromkeys(name for row in rows for name in row)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t", restval="", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


def _with_judge(relay: Relay) -> VicurError:
    return VicurError(
        f"the judge {relay.failure}. Nothing was scored.",
        where="--judge",
        remedy="Start the judge, and run the command again: its replies so far are kept.",
        retryable=True,
    )


def _checked(path: Path, indexes: Sequence[str], status: int, log: Path) -> HarnessResult:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    tail = "\n  ".join(line[:300] for line in lines[-_SHOWN_LINES:])
    if status != 0 or not path.is_file():
        raise VicurError(
            f"the harness wrote no result (exit status {status}). Its last lines:\n  {tail}\n",
            where=str(log),
            remedy="Correct the cause, and run the command again.",
        )
    try:
        result = HarnessResult.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise VicurError(
            f"the harness wrote an invalid result ({error.errors()[0]['msg']}). Its last lines:\n  {tail}\n",
            where=str(path),
            remedy=f"Use ms-vlmeval {VERSION}: make benchmarks-env.",
        ) from error
    found = [row.index for row in result.rows]
    if sorted(found) != sorted(indexes):
        missing = [index for index in indexes if index not in set(found)]
        raise VicurError(
            f"the harness gave {len(found):,} verdicts for {len(indexes):,} rows"
            f"{f'; row {missing[0]} has none' if missing else ''}. Nothing was scored.",
            where=str(path),
            remedy=f"Use ms-vlmeval {VERSION}: make benchmarks-env. Its log is {log}.",
        )
    return result
