"""Extraction in portions: ranges of a dataset's examples get their cues on separate machines, and one merges and audits all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vicur.config.cues import CuesConfig
from vicur.config.portions import CuePlanConfig, CuePortionConfig
from vicur.cues.audit import AuditedCue
from vicur.cues.reader_check import check_before_requests
from vicur.cues.rows import audited_rows, splits_with_cues
from vicur.cues.store import write_jsonl
from vicur.data import read_manifest
from vicur.data.dataset import MANIFEST
from vicur.errors import VicurError
from vicur.stage.portions import PORTIONS, RECORD, Automatic, Record, digest, divided, in_order
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import file_sha256

STAGE = "extract"
ROWS_FILE = "rows.jsonl"
AUTOMATIC = Automatic(rows=20_000, most=4)
_AT_A_TIME = 1000  # examples that a portion is made of, as row groups have about as many
_ROW = TypeAdapter(AuditedCue)


class CueRecord(Record):
    """Record of a portion of cues."""

    fingerprint: str
    """The provider's fingerprint."""
    rows: int
    """Number of audited examples."""


class PlanSummary(Summary):
    """Summary of a division."""

    portions: int


class PortionSummary(Summary):
    """Summary of a portion."""

    cues: int
    skipped: int


def plan_portions(config: CuePlanConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> PlanSummary:  # noqa: ARG001
    """Write the settings of each portion of the input ``dataset`` to ``portions.json``.

    Raises:
        VicurError: if there are no examples to train on, or the base cannot read them and cues have to be paid for.
    """
    check_before_requests(config.cues, inputs["dataset"])
    counts = read_manifest(inputs["dataset"]).examples
    total = sum(counts[split] for split in splits_with_cues(inputs["dataset"], config.cues))
    # An example is an item. Millions of them are divided in small groups.
    groups = [min(_AT_A_TIME, total - first) for first in range(0, total, _AT_A_TIME)]
    if config.count and len(groups) < 4 * config.count:
        groups = [1] * total
    starts = [0]
    for group in groups:
        starts.append(starts[-1] + group)
    portions = [
        CuePortionConfig(
            cues=example_settings(config.cues), first=starts[each.first], end=starts[each.end], last=each.last
        )
        for each in divided(groups, config.count, AUTOMATIC)
    ]
    (output / PORTIONS).write_text(json.dumps([each.model_dump(mode="json") for each in portions]), encoding="utf-8")
    count = f"{len(portions)} portion{'' if len(portions) == 1 else 's'}"
    return PlanSummary(key_figure=f"{count} of {total:,} examples", portions=len(portions))


def extract_portion(
    config: CuePortionConfig, inputs: Mapping[str, Path], output: Path, context: Context
) -> PortionSummary:
    """Get and audit the cues of a range of examples of the input ``dataset``, and write them to ``rows.jsonl``."""
    rows, fingerprint = audited_rows(inputs["dataset"], config.cues, context, config.first, config.end)
    write_jsonl(map(asdict, rows), output / ROWS_FILE)
    CueRecord(
        stage=STAGE,
        first=config.first,
        end=config.end,
        last=config.last,
        settings=_settings(inputs["dataset"], config.cues, context.seed),
        fingerprint=fingerprint,
        rows=len(rows),
    ).write(output)
    skipped = sum(row.skipped is not None for row in rows)
    return PortionSummary(
        key_figure=f"{len(rows) - skipped:,} cues; {skipped:,} examples without",
        cues=len(rows) - skipped,
        skipped=skipped,
    )


def merged_rows(portions: Sequence[Path], dataset: Path, config: CuesConfig, seed: int) -> tuple[list[AuditedCue], str]:
    """Return the rows of all portions of a dataset in order, and the provider's fingerprint.

    Raises:
        VicurError: if a portion is missing, damaged, or made from another dataset or with other settings.
    """
    ordered = in_order(portions, CueRecord, STAGE, _settings(dataset, config, seed))
    fingerprints = dict.fromkeys(record.fingerprint for _, record in ordered)
    if len(fingerprints) > 1:
        raise VicurError(
            f"the cue provider was not the same in all portions ({', '.join(fingerprints)}).",
            where=str(ordered[0][0].parent),
            remedy="Make all portions with one release and one cue model.",
        )
    rows = [row for folder, record in ordered for row in _read_rows(folder / ROWS_FILE, record.rows)]
    return rows, next(iter(fingerprints))


def example_settings(config: CuesConfig) -> CuesConfig:
    """Return the settings that the cue of an example depends on: without the limits of the audit, the page of samples and the reader."""
    names = [*(name for name in CuesConfig.model_fields if name.startswith("max_")), "samples", "reader"]
    return config.model_copy(update={name: CuesConfig.model_fields[name].default for name in names})


def _settings(dataset: Path, config: CuesConfig, seed: int) -> str:
    # The manifest has the checksum of every shard.
    return digest(example_settings(config).identity(), file_sha256(dataset / MANIFEST), seed)


def _read_rows(path: Path, count: int) -> Iterator[AuditedCue]:
    read = 0
    remedy = "Make this portion again: this copy is damaged."
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield _ROW.validate_json(line)
                read += 1
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise VicurError("is not an audited cue.", where=f"{path}:line {read + 1}", remedy=remedy) from error
    if read != count:
        raise VicurError(f"has {read} lines, but {RECORD} says {count}.", where=str(path), remedy=remedy)


PLAN: Stage[Any] = Stage("extract", plan_portions, PlanSummary, reusable=False)
EXTRACT_PORTION: Stage[Any] = Stage("extract", extract_portion, PortionSummary)
