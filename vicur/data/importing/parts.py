"""Parts of an import: each is what one unit of the source became, in a folder that exists only if it is complete.

A part depends on its unit and on the settings, never on other parts, so that any process of any machine can make it, and a run that was
killed continues with those that are missing. It contains

- ``examples.parquet``: the usable examples, as in a shard of the dataset. Their splits may be provisional.
- ``facts.parquet``: the facts of each of them (:mod:`vicur.data.importing.facts`)
- ``skipped.jsonl``: the unusable rows, each with the number of examples before it
- ``inputs.json``: size and time of each file that was read. If one has changed since, the unit is read again.
- ``part.json``: its counts
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter

from vicur.config.data import NO_EFFECT, DataConfig
from vicur.data.formats import SourceFolder, Unit
from vicur.data.formats.source_folder import file_state
from vicur.data.importing.facts import FACTS, Facts, facts_of, facts_table
from vicur.data.reading import Reading
from vicur.data.rows import Row
from vicur.data.schema import SkippedRow
from vicur.data.shards import ShardWriter
from vicur.processes.workers import Report
from vicur.storage.folders import new_folder

EXAMPLES, FACTS_FILE, SKIPPED, COUNTS = "examples.parquet", "facts.parquet", "skipped.jsonl", "part.json"
INPUTS = "inputs.json"
_FACTS_PER_GROUP = 2000


class PartCounts(BaseModel):
    """Content of ``part.json``."""

    unit: Unit
    examples: int
    skipped: int
    size: int
    """Bytes of the part's files."""


class PlacedSkip(SkippedRow):
    """An unusable row of a part."""

    after: int
    """Number of usable rows of the part that precede it."""


def part_tasks(reading: Reading, units: Sequence[Unit], folder: Path) -> list[dict[str, Any]]:
    """Return a task for each unit, whose part is a folder below ``folder``. Tasks are JSON values."""
    settings = json.dumps(
        {
            "source": str(reading.folder.path.absolute()),
            "address": reading.folder.address,
            # Without what has no effect, so that another number of processes finds the parts again.
            "config": reading.config.source().model_dump(mode="json", exclude=NO_EFFECT),
            "format": reading.format_name,
            "seed": reading.seed,
        },
        sort_keys=True,
    )
    return [
        {"reading": settings, "unit": unit.model_dump(), "part": str(folder / _name(settings, unit))} for unit in units
    ]


def _name(settings: str, unit: Unit) -> str:
    # A work folder belongs to one source; the file's state guards against a source that changes under a run that is resumed.
    source = json.loads(settings)["source"]
    state = (Path(source) / unit.file).stat()
    text = f"{settings}\0{unit.model_dump_json()}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def read_part(task: dict[str, Any], report: Report) -> dict[str, Any]:
    """Make the part of a task, unless it exists and its files are as they were. Return its :class:`PartCounts` as JSON.

    With ``again``, the part is made even then.
    """
    folder = Path(task["part"])
    if task.get("again") or not (folder / COUNTS).is_file() or _has_changed(folder, task["reading"]):
        with new_folder(folder) as partial:
            _write_part(_reading(task["reading"]), Unit(**task["unit"]), partial, report)
    return counts_of(folder).model_dump()


def _has_changed(part: Path, settings: str) -> bool:
    if not (part / INPUTS).is_file():
        return True
    source = Path(json.loads(settings)["source"])
    inputs = json.loads((part / INPUTS).read_text(encoding="utf-8"))
    return any(file_state(source / name) != (state and tuple(state)) for name, state in inputs.items())


def counts_of(part: Path) -> PartCounts:
    """Return the counts of a complete part."""
    return PartCounts.model_validate_json((part / COUNTS).read_text(encoding="utf-8"))


# A process reads many units of one source, whose files it then lists once.
@lru_cache(maxsize=1)
def _reading(settings: str) -> Reading:
    fields = json.loads(settings)
    config: Any = TypeAdapter(DataConfig).validate_python(fields["config"])
    return Reading(SourceFolder(Path(fields["source"]), fields["address"]), config, fields["format"], fields["seed"])


def _write_part(reading: Reading, unit: Unit, folder: Path, report: Report) -> None:
    examples = ShardWriter(folder / EXAMPLES)
    skipped = 0
    fingerprints = reading.config.duplicates != "off"
    facts: list[Facts] = []
    with (
        reading.folder.noting() as inputs,
        pq.ParquetWriter(folder / FACTS_FILE, FACTS) as facts_writer,
        (folder / SKIPPED).open("w", encoding="utf-8", newline="\n") as skipped_file,
    ):
        for number, row in enumerate(reading.rows(unit), start=1):
            if isinstance(row, SkippedRow):
                skipped += 1
                skipped_file.write(f"{PlacedSkip(after=examples.rows, **row.model_dump()).model_dump_json()}\n")
            elif row is not None:
                examples.add(row.example)
                facts.append(_facts(row, fingerprints))
                if len(facts) == _FACTS_PER_GROUP:
                    facts_writer.write_table(facts_table(facts))
                    facts = []
            report(number)
        facts_writer.write_table(facts_table(facts))
    examples.close()
    (folder / INPUTS).write_text(json.dumps(inputs), encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir())
    counts = PartCounts(unit=unit, examples=examples.rows, skipped=skipped, size=size)
    (folder / COUNTS).write_text(counts.model_dump_json(), encoding="utf-8")


def _facts(row: Row, fingerprints: bool) -> Facts:
    named = row.split is not None
    return facts_of(
        row.example,
        row.file,
        row.row,
        named_split=named,
        notes=row.notes,
        fingerprints=fingerprints,
        pictures=row.pictures,
    )


def read_skipped(part: Path) -> Iterator[PlacedSkip]:
    """Yield the unusable rows of a part in order."""
    with (part / SKIPPED).open(encoding="utf-8") as file:
        for line in file:
            yield PlacedSkip.model_validate_json(line)
