"""Files of the extraction stage: ``cues.parquet`` for later stages, ``skipped.jsonl`` for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicur.errors import VicurError

if TYPE_CHECKING:
    from vicur.cues.audit import AuditedCue

CUES_FILE = "cues.parquet"
FINDINGS_FILE = "findings.jsonl"
SKIPPED_FILE = "skipped.jsonl"


def write_cues(rows: Iterable[AuditedCue], provider: str, folder: Path) -> None:
    """Write rows with a cue to the table and the others to the list of skipped examples. Equal rows give equal bytes."""
    import pyarrow as pa

    from vicur.data.parquet import write_table

    rows = list(rows)
    schema = pa.schema(
        [
            pa.field("example_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("cue", pa.string(), nullable=False),
            pa.field("provider", pa.string(), nullable=False),
            pa.field("grounded", pa.bool_()),  # null if the dataset does not know
            pa.field("leaks_answer", pa.bool_(), nullable=False),
            pa.field("leak_rule", pa.string()),
            pa.field("reasoning_words", pa.list_(pa.string()), nullable=False),
            pa.field("words", pa.int32(), nullable=False),
        ]
    )
    table = pa.Table.from_pylist([_record(row, provider) for row in rows if row.cue is not None], schema=schema)
    write_table(table, folder / CUES_FILE)
    skipped = (
        {"example_id": row.example_id, "split": row.split, "kind": row.kind, "reason": row.skipped}
        for row in rows
        if row.skipped is not None
    )
    write_jsonl(skipped, folder / SKIPPED_FILE)


def write_findings(rows: Iterable[AuditedCue], folder: Path) -> None:
    """Write every finding of the audit as a line of ``findings.jsonl``: the cue, the violated rule, and the clause that violates it."""
    rows = list(rows)
    found = (
        {"example_id": row.example_id, "split": row.split, "kind": row.kind, "cue": row.cue} | asdict(finding)
        for row in rows
        for finding in row.findings
    )
    changed = (
        {"example_id": row.example_id, "split": row.split, "kind": row.kind, "cue": each.before}
        | {name: value for name, value in asdict(each).items() if name != "before"}
        for row in rows
        for each in row.treated
    )
    write_jsonl(chain(found, changed), folder / FINDINGS_FILE)


def read_cues(folder: Path, name: str = CUES_FILE) -> dict[str, str]:
    """Read the cues that the extraction stage wrote to ``folder``, by example id.

    Raises:
        VicurError: if the file is missing or not a table of cues.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / name
    remedy = "Run 'vicur cues extract' to write it."
    if not file.is_file():
        raise VicurError("the file does not exist.", where=str(file), remedy=remedy)
    try:
        table = pq.read_table(file, columns=["example_id", "cue"])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise VicurError(
            f"the file is not a readable table of cues ({reason}).", where=str(file), remedy=remedy
        ) from error
    return dict(zip(table["example_id"].to_pylist(), table["cue"].to_pylist(), strict=True))


def write_jsonl(records: Iterable[dict[str, Any]], file: Path) -> None:
    """Write one JSON object per line."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    file.write_text("".join(lines), encoding="utf-8")


def _record(row: AuditedCue, provider: str) -> dict[str, Any]:
    return {
        "example_id": row.example_id,
        "split": row.split,
        "kind": row.kind,
        "cue": row.cue,
        "provider": provider,
        "grounded": row.grounded,
        "leaks_answer": row.leak is not None,
        "leak_rule": row.leak.rule if row.leak is not None else None,
        "reasoning_words": list(row.reasoning),
        "words": row.words,
    }
