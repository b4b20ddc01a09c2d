"""Compare the audit with labelled cues: precision and recall of each label, precision of each rule, and every disagreement."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vicur.cues.findings import LABELS, Finding, Label, examine
from vicur.cues.posed import IMAGE_TEXT
from vicur.errors import VicurError

_TYPES = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
_REMEDY = (
    'Write rows like {"question": "Find x.", "answer": "13", "choices": [], "image_text": "5 12 x", "evidence": [], '
    '"cue": "AC = 13.", "answer_leak": true}.'
)
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class PosedCue:
    """A cue with its question, as a row of a JSONL file gives them."""

    row: int
    question: str
    answer: str
    choices: tuple[str, ...]
    cue: str
    metadata: dict[str, Any]
    source: str = ""
    labels: frozenset[Label] = frozenset()


@dataclass(frozen=True)
class Disagreement:
    """A row for which the audit found other labels than it has."""

    row: PosedCue
    missed: tuple[Label, ...]
    extra: tuple[Finding, ...]


@dataclass
class Counts:
    """Counts of one label or rule."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float | None:
        """Share of the found ones that have the label."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of those with the label that were found."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None


@dataclass
class Agreement:
    """Result of :func:`compare`."""

    rows: int = 0
    clean: int = 0
    clean_flagged: int = 0
    """Rows without any label for which something was found."""
    labels: dict[Label, Counts] = field(default_factory=lambda: {label: Counts() for label in LABELS})
    rules: dict[tuple[Label, str], Counts] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        rules: dict[str, dict[str, Any]] = {label: {} for label in LABELS}
        for (label, rule), counts in sorted(self.rules.items()):
            rules[label][rule] = {
                "found": counts.right + counts.wrong,
                "right": counts.right,
                "precision": counts.precision,
            }
        return {
            "rows": self.rows,
            "clean": {
                "rows": self.clean,
                "flagged": self.clean_flagged,
                "share": self.clean_flagged / self.clean if self.clean else None,
            },
            "labels": {
                label: {
                    "precision": counts.precision,
                    "recall": counts.recall,
                    "labelled": counts.right + counts.missed,
                    "found": counts.right + counts.wrong,
                    "right": counts.right,
                }
                for label, counts in self.labels.items()
            },
            "rules": rules,
            "disagreements": [
                {
                    "row": each.row.row,
                    "question": each.row.question,
                    "answer": each.row.answer,
                    "cue": each.row.cue,
                    "missed": list(each.missed),
                    "extra": [vars(finding) for finding in each.extra],
                }
                for each in self.disagreements
            ],
        }


def compare(rows: Sequence[PosedCue]) -> Agreement:
    """Examine every cue and compare the findings with its labels."""
    result = Agreement(rows=len(rows))
    for row in rows:
        findings, _ = examine(row.cue, row)
        found = {finding.label for finding in findings}
        if not row.labels:
            result.clean += 1
            result.clean_flagged += bool(found)
        for label in LABELS:
            counts = result.labels[label]
            counts.right += label in found and label in row.labels
            counts.wrong += label in found and label not in row.labels
            counts.missed += label not in found and label in row.labels
        for key in dict.fromkeys((finding.label, finding.rule) for finding in findings):
            of_rule = result.rules.setdefault(key, Counts())
            of_rule.right += key[0] in row.labels
            of_rule.wrong += key[0] not in row.labels
        if found != row.labels:
            missed = tuple(label for label in LABELS if label in row.labels and label not in found)
            extra = tuple(finding for finding in findings if finding.label not in row.labels)
            result.disagreements.append(Disagreement(row, missed, extra))
    return result


def read_posed(path: Path, *, labelled: bool) -> list[PosedCue]:
    """Read rows with ``question``, ``answer`` and ``cue``, and optionally ``choices``, ``source``, ``image_text`` and ``evidence``.

    Rows also have truth values for the labels if ``labelled``; a missing one is false.

    Raises:
        VicurError: if the file cannot be read, has no rows, or a row is invalid; the message names file, row and field.
    """
    rows = [_posed(record, path, number, labelled=labelled) for number, record in records(path)]
    if not rows:
        raise VicurError("has no rows.", where=str(path), remedy="Write one JSON object per line.")
    return rows


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL file with their row numbers.

    Raises:
        VicurError: if the file cannot be read or a row is not an object.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _object(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise VicurError(
            f"cannot be read ({reason}).", where=str(path), remedy="Pass a JSONL file in UTF-8."
        ) from error


def _object(line: str, path: Path, number: int) -> dict[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise _invalid(f"is longer than {_LONGEST_LINE:,} characters", path, number)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _invalid(f"is not JSON ({reason})", path, number) from error
    if not isinstance(row, dict):
        raise _invalid(f"is {_named(row)}, not an object", path, number)
    return row


def _posed(row: dict[str, Any], path: Path, number: int, *, labelled: bool) -> PosedCue:
    choices = row.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise _invalid("is not a list of texts", path, number, "choices")
    labels: set[Label] = set()
    for label in LABELS if labelled else ():
        truth = row.get(label, False)
        if not isinstance(truth, bool):
            raise _invalid(f"is {_named(truth)}, not a truth value", path, number, label)
        labels |= {label} if truth else set()
    return PosedCue(
        number,
        question=_text(row, "question", path, number),
        answer=_text(row, "answer", path, number),
        choices=tuple(choices),
        cue=_text(row, "cue", path, number),
        metadata=_metadata(row, path, number),
        source=str(row.get("source") or ""),
        labels=frozenset(labels),
    )


def _metadata(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """Return the text in the image and the evidence as an example has them."""
    metadata: dict[str, Any] = dict(row["metadata"]) if isinstance(row.get("metadata"), dict) else {}
    text, evidence = row.get(IMAGE_TEXT, metadata.get(IMAGE_TEXT)), row.get("evidence", metadata.get("evidence"))
    if isinstance(text, list) and all(isinstance(part, str) for part in text):
        text = "\n".join(text)
    if text is not None and not isinstance(text, str):
        raise _invalid(f"is {_named(text)}, not text", path, number, IMAGE_TEXT)
    if isinstance(evidence, Mapping):
        # One object is one piece of evidence, or a value for each subject.
        evidence = (
            [evidence]
            if "subject" in evidence
            else [{"subject": name, "value": value} for name, value in evidence.items()]
        )
    if isinstance(evidence, str):
        evidence = [evidence] if evidence.strip() else []
    if evidence is not None and not isinstance(evidence, list):
        raise _invalid(f"is {_named(evidence)}, not a list", path, number, "evidence")
    # Facts in words cannot be compared piece by piece, but what they mention is visible.
    facts = [each for each in evidence or () if isinstance(each, str)]
    if text is not None or facts:
        metadata[IMAGE_TEXT] = "\n".join([text or "", *facts]).strip()
    metadata["evidence"] = [each for each in evidence or () if not isinstance(each, str)]
    return metadata


def _text(row: dict[str, Any], name: str, path: Path, number: int) -> str:
    if name not in row:
        raise _invalid("is missing", path, number, name)
    value = row[name]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _invalid(f"is {_named(value)}, not text", path, number, name)
    return value


def _named(value: Any) -> str:
    return _TYPES.get(type(value), "a number")


def _invalid(problem: str, path: Path, number: int, name: str = "") -> VicurError:
    return VicurError(f"{problem}.", where=f"{path}: row {number}" + (f", {name}" if name else ""), remedy=_REMEDY)
