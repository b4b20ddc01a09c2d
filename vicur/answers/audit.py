"""Compare the checker with labelled responses: how often both agree, and every disagreement by kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vicur.answers.correct import Extractor, is_correct
from vicur.answers.extract import extract_answer
from vicur.answers.strict import strict_answer
from vicur.errors import VicurError

_JSON_TYPES = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}


@dataclass(frozen=True)
class Labelled:
    """A response whose correctness is known."""

    row: int
    answer: str
    choices: tuple[str, ...]
    response: str
    correct: bool
    kind: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Disagreement:
    """A row that the checker judges differently from its label."""

    row: int
    kind: str
    answer: str
    choices: tuple[str, ...]
    response: str
    extracted: str | None
    correct: bool
    """The label; the checker says the opposite."""


@dataclass(frozen=True)
class Agreement:
    """Counts over some rows."""

    rows: int
    false_accepts: int
    false_rejects: int

    @property
    def agreement(self) -> float:
        return 1 - (self.false_accepts + self.false_rejects) / self.rows

    def record(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "agreement": round(self.agreement, 4),
            "false_accepts": self.false_accepts,
            "false_rejects": self.false_rejects,
        }


@dataclass(frozen=True)
class AnswerAudit:
    """Result of :func:`audit`."""

    extractor: Extractor
    total: Agreement
    by_kind: dict[str, Agreement]
    disagreements: tuple[Disagreement, ...]

    def record(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        return {
            "extractor": self.extractor,
            **self.total.record(),
            "by_kind": {kind: counts.record() for kind, counts in self.by_kind.items()},
            "disagreements": [vars(each) | {"choices": list(each.choices)} for each in self.disagreements],
        }


def read_labelled(file: Path) -> list[Labelled]:
    """Read rows of ``answer``, ``choices`` (optional), ``response``, ``correct`` and ``kind`` (optional) from a JSONL file.

    Raises:
        VicurError: if the file cannot be read, has no rows, or a row is invalid; the message names file, row and field.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise VicurError(
            f"cannot be read ({reason}).", where=str(file), remedy="Pass a JSONL file in UTF-8."
        ) from error
    rows = [_labelled(line, file, number) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not rows:
        raise VicurError("has no rows.", where=str(file), remedy="Write one JSON object per line.")
    return rows


def audit(rows: Sequence[Labelled], extractor: Extractor = "lenient") -> AnswerAudit:
    """Judge every row with one of the extractors and compare the result with its label."""
    disagreements = tuple(_disagreements(rows, extractor))
    kinds = sorted({row.kind for row in rows})
    by_kind = {
        kind: _counts([r for r in rows if r.kind == kind], [d for d in disagreements if d.kind == kind])
        for kind in kinds
    }
    return AnswerAudit(extractor, _counts(rows, disagreements), by_kind, disagreements)


def _disagreements(rows: Sequence[Labelled], extractor: Extractor) -> Iterator[Disagreement]:
    extract = strict_answer if extractor == "strict" else extract_answer
    for row in rows:
        if is_correct(row.response, row, extractor=extractor) != row.correct:
            extracted = extract(row.response)
            yield Disagreement(row.row, row.kind, row.answer, row.choices, row.response, extracted, row.correct)


def _counts(rows: Sequence[Labelled], disagreements: Sequence[Disagreement]) -> Agreement:
    rejected = sum(each.correct for each in disagreements)
    return Agreement(len(rows), len(disagreements) - rejected, rejected)


def _labelled(line: str, file: Path, number: int) -> Labelled:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _invalid(f"is not JSON ({reason})", file, number) from error
    if not isinstance(row, dict):
        raise _invalid(f"is {_named(row)}, not an object", file, number)
    choices = row.get("choices") or []
    if not isinstance(choices, list):
        raise _invalid(f"is {_named(choices)}, not a list", file, number, "choices")
    for place, choice in enumerate(choices):
        if not isinstance(choice, str):
            raise _invalid(f"is {_named(choice)}, not text", file, number, f"choices[{place}]")
    return Labelled(
        number,
        answer=_field(row, "answer", str, file, number),
        choices=tuple(choices),
        response=_field(row, "response", str, file, number),
        correct=_field(row, "correct", bool, file, number),
        kind=_field({"kind": "all"} | row, "kind", str, file, number),
    )


def _field(row: dict[str, Any], name: str, kind: type, file: Path, number: int) -> Any:
    if name not in row:
        raise _invalid("is missing", file, number, name)
    if not isinstance(row[name], kind):
        raise _invalid(f"is {_named(row[name])}, not {_JSON_TYPES[kind]}", file, number, name)
    if name == "answer" and not row[name].strip():
        raise _invalid("is blank", file, number, name)
    return row[name]


def _named(value: Any) -> str:
    return _JSON_TYPES.get(type(value), "a number")


def _invalid(problem: str, file: Path, number: int, name: str = "") -> VicurError:
    return VicurError(
        f"{problem}.",
        where=f"{file}: row {number}" + (f", {name}" if name else ""),
        remedy='Write rows like {"answer": "12", "choices": [], "response": "Answer: 12", "correct": true, "kind": "number"}.',
    )
