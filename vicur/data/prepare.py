"""The first stage: turns any source (:mod:`vicur.data.sources`) into a dataset folder (:mod:`vicur.data.dataset`).

    vicur data prepare          # writes data/, the bytes that data.dvc pins

The same source gives the same bytes; :mod:`vicur.data.shards` says what else they depend on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field

from vicur.config.data import DataConfig, ImportConfig
from vicur.data.hygiene.findings import Findings
from vicur.data.pin import dvc_hash
from vicur.data.portions import merge_portions
from vicur.data.profile import Profile, profile_of, render_profile
from vicur.data.profile.figures import reason_name
from vicur.data.schema import Manifest
from vicur.data.sources import source_of
from vicur.stage.portions import portions_in
from vicur.stage.runner import Context, Stage, Summary

log = logging.getLogger(__name__)

PROFILE_FILE = "profile.html"


class Rejection(BaseModel):
    """The skipped rows of one reason."""

    count: int
    example: str
    """One of them, with its place and the reason."""


class PrepareSummary(Summary):
    """Counts and hash of a prepared dataset."""

    dataset_hash: str
    """DVC's hash of the folder, as in ``data.dvc``."""
    examples: dict[str, int]
    """Number of examples by split."""
    skipped: int
    """Number of rows of the source that could not be used."""
    skipped_reasons: dict[str, int]
    """Number of skipped rows by the field at fault; empty for a dataset that was prepared elsewhere."""
    rejections: dict[str, Rejection]
    """Skipped rows by reason, the most frequent first."""
    answer_index: int | None
    """Number by which answers name the first choice; ``None`` if they are texts or letters."""
    findings: dict[str, int]
    """What the rules over all examples counted: duplicates, repeated questions, contradictions."""
    image_notes: dict[str, Rejection] = Field(default_factory=dict)
    """Images that were changed to be stored, by what was changed. Animated ones, whose first frame is used, are among them."""


def prepare(config: DataConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> PrepareSummary:
    """Write the dataset of the section's source, or of its portions among the inputs, to the empty folder ``output``.

    Raises:
        VicurError: if the source cannot be fetched, or too many of its rows cannot be used.
    """
    if portions := portions_in(inputs):
        manifest, skipped = merge_portions(config, portions, output, context)
    else:
        manifest, skipped = source_of(config).read(config, inputs, output, context)
    examples = manifest.examples
    profile = profile_of(output, config.processes if isinstance(config, ImportConfig) else None)
    rejections = _rejections(profile)
    found = profile.findings
    findings: dict[str, int] = {each.rule: each.count for each in found.findings} if found else {}
    notes = {each.text: Rejection(count=each.count, example=each.example) for each in (found.notes if found else ())}
    index = manifest.source.get("answer_index")
    if index is not None:
        log.info("Answers that are numbers count the choices from %d (data.answer_index).", index)
    _report(rejections, found)
    # Not in the folder, whose hash covers every file.
    page = context.work / PROFILE_FILE
    page.write_text(render_profile(profile, str(manifest.source.get("type", "dataset"))), encoding="utf-8")
    context.tracker.artifact(page, "data")
    return PrepareSummary(
        key_figure=_key_figure(manifest, found),
        metrics={
            "skipped": float(manifest.skipped),
            **{f"examples/{split}": float(count) for split, count in examples.items()},
            **{f"skipped/{field}": float(count) for field, count in skipped.by_field.items()},
            **{f"findings/{rule}": float(count) for rule, count in findings.items()},
            **({"findings/first_frames": float(frames)} if (frames := _first_frames(found)) else {}),
        },
        dataset_hash=dvc_hash(output).md5,
        examples=examples,
        skipped=manifest.skipped,
        skipped_reasons=dict(skipped.by_field),
        rejections=rejections,
        answer_index=index,
        findings=findings,
        image_notes=notes,
    )


def _rejections(profile: Profile) -> dict[str, Rejection]:
    first: dict[str, str] = {}
    for row in profile.rejected:
        field = f":{row['field']}" if row["field"] else ""
        identifier = f" ({row['id']})" if row["id"] else ""
        place = f"{row['file']}:row {row['row']}{field}{identifier}"
        first.setdefault(reason_name(row["field"], row["reason"]), f"{place}: {row['reason']}")
    return {
        reason: Rejection(count=count, example=first.get(reason, "see skipped.jsonl"))
        for reason, count in profile.reasons.most_common()
    }


def _report(rejections: Mapping[str, Rejection], findings: Findings | None) -> None:
    for reason, rejection in rejections.items():
        log.warning("Skipped rows: %d, %s. For example %s", rejection.count, reason, rejection.example)
    for finding in findings.findings if findings else ():
        ids = f", for example {' and '.join(finding.instances[0].ids)}" if finding.instances else ""
        log.warning("%s: %d%s%s", finding.title, finding.count, " (dropped)" if finding.dropped else "", ids)
    for note in findings.notes if findings else ():
        log.log(
            logging.WARNING if note.is_loss else logging.INFO,
            "Images changed: %d, %s. For example in %s", note.count, note.text, note.example,
        )  # fmt: skip


def _first_frames(findings: Findings | None) -> int:
    """Return the number of images of which frames or pages were left out."""
    return sum(each.count for each in findings.notes if each.is_loss) if findings else 0


def _key_figure(manifest: Manifest, findings: Findings | None) -> str:
    examples = manifest.examples
    counts = ", ".join(f"{split} {count:,}" for split, count in examples.items())
    tail = f"; {manifest.skipped:,} rows skipped" if manifest.skipped else ""
    index = manifest.source.get("answer_index")
    tail += f"; answers count choices from {index}" if index is not None else ""
    found = f"; {summary}" if findings and (summary := findings.summary()) else ""
    frames = f"; {count:,} images of several frames (the first is used)" if (count := _first_frames(findings)) else ""
    return f"{sum(examples.values()):,} examples ({counts}){tail}{found}{frames}"


PREPARE = Stage("prepare", prepare, PrepareSummary)
