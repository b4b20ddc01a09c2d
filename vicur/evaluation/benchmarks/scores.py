"""Scores of one model's answers to one benchmark: a row per question, the metric, and everything that they depend on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from vicur.data.parquet import write_table
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answers import AnswerRecord
from vicur.evaluation.benchmarks.judge import JudgeIdentity

SCORES = "scores.parquet"
RECORD = "scores.json"
FILES = (RECORD, SCORES)
"""Files of a folder of scores. The first one marks it as complete."""


class ScoredRow(BaseModel, frozen=True):
    """A question with the verdicts on its response."""

    id: str
    group: str
    kind: str
    correct: bool
    """The harness's verdict; for a benchmark without one, that of the rules."""
    rule_correct: bool
    """Verdict of this project's rules, without a judge."""
    extracted: str | None
    """The answer that the harness found, if it says so."""
    rule_extracted: str | None
    judged: bool
    """Whether the judge was asked about the response."""
    unparsed: bool
    """Whether no answer was found in the response."""
    finished: bool
    unanswered: str | None = None


class Counts(BaseModel, frozen=True):
    """Numbers of rows."""

    rows: int
    judged: int
    unparsed: int
    unfinished: int
    unanswered: int
    judge_calls: int


class ScoreRecord(BaseModel, frozen=True):
    """Content of ``scores.json``. Scores are between 0 and 1."""

    benchmark: str
    official: bool
    """Whether the questions are those of the paper's harness."""
    score: float
    """The paper's metric."""
    rule_score: float
    """The same metric with this project's rules in place of the harness and its judge."""
    counts: Counts
    by_kind: dict[str, float]
    """Share of correct rows by kind of question."""
    harness: str | None
    """The harness and its version; ``None`` if the score is that of the rules."""
    judge: JudgeIdentity | None
    answers: AnswerRecord

    def figures(self) -> dict[str, float]:
        """Return what was measured, by name: ``score``, ``unparsed`` and others."""
        counts = self.counts
        shares = {f"{name}_share": getattr(counts, name) / counts.rows for name in _UNCLEAR}
        return {"score": self.score, "rule_score": self.rule_score, **_floats(counts.model_dump()), **shares}


_UNCLEAR = ("unparsed", "unfinished", "unanswered")


def _floats(values: dict[str, int]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def write_scores(rows: Sequence[ScoredRow], record: ScoreRecord, folder: Path) -> None:
    """Write a folder of scores, one row per question, in their order."""
    import pyarrow as pa

    flags = ("correct", "rule_correct", "judged", "unparsed", "finished")
    schema = pa.schema([(name, pa.bool_() if name in flags else pa.string()) for name in ScoredRow.model_fields])
    write_table(pa.Table.from_pylist([row.model_dump() for row in rows], schema), folder / SCORES)
    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_scores(folder: Path) -> tuple[ScoreRecord, list[ScoredRow]]:
    """Read a folder of scores.

    Raises:
        VicurError: if it is incomplete or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        record = ScoreRecord.model_validate(json.loads((folder / RECORD).read_text(encoding="utf-8")))
        return record, [ScoredRow.model_validate(row) for row in pq.read_table(folder / SCORES).to_pylist()]
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).",
            where=str(folder),
            remedy="Run vicur benchmarks score again.",
        ) from error
