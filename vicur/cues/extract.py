"""The extraction stage: gives examples their visual cues, and audits every one of them.

Reads a dataset, writes ``cues.parquet`` (what teachers are hinted with), ``skipped.jsonl``, ``audit.json`` and
``samples.html`` (the audit for people). Cues are extracted for the distillation split, which is what teaches, and for
the held-out splits, which show how a provider does on images it has not met. Limits are about the former.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vicur.config.cues import TAUGHT_SPLIT, CuesConfig
from vicur.cues.audit import Audit, AuditedCue, Figures, Limit, audit_cue, offenders, summarize
from vicur.cues.providers import CueProvider, provider_for
from vicur.cues.samples import Sample, choose, render_page
from vicur.cues.store import write_cues, write_jsonl
from vicur.data import read_examples, read_manifest
from vicur.errors import VicurError
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import new_folder

log = logging.getLogger(__name__)

AUDIT_FILE = "audit.json"
SAMPLES_FILE = "samples.html"
OFFENDERS_FILE = "offenders.jsonl"
_SHOWN = 3
_SPLIT_METRICS = ("cues", "skipped_share", "grounded_share", "answer_leak_share", "reasoning_share", "mean_words")
_KIND_METRICS = ("grounded_share", "answer_leak_share")


class ExtractSummary(Summary):
    """What came of an extraction. Shares without a split are those of the split that teaches."""

    provider: str
    """Provider that made the cues."""
    cues: dict[str, int]
    """Cues by split."""
    skipped: dict[str, int]
    """Examples without a cue, by split."""
    grounded_share: float | None
    """Share of the cues that agree with what the dataset knows to be in the image; ``None`` where it knows nothing."""
    answer_leak_share: float
    """Share of the cues that give the answer away."""
    reasoning_share: float
    """Share of the cues with words that belong to a solution."""
    mean_words: float
    """Mean length of a cue."""
    by_split: dict[str, Figures]
    """The audit's figures of each split."""


def extract(config: CuesConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> ExtractSummary:
    """Extracts and audits cues.

    Args:
        config: provider, splits and limits.
        inputs: ``dataset``.
        output: folder for the cues and their audit.
        context: run, tracker and progress; cues that are over a limit stay in its work folder, to be looked at.

    Raises:
        VicurError: for a dataset that the provider cannot work with, and for cues that are over a limit.
    """
    dataset = inputs["dataset"]
    provider = provider_for(config.provider, context)
    context.tracker.params(config.model_dump(mode="json"))
    splits = _splits(dataset)
    provider.fit(
        example for split in provider.fitted_on if split in splits for example in read_examples(dataset, split)
    )
    rows, samples = _extract_all(
        provider, dataset, [split for split in config.splits if split in splits], config, context
    )
    audit = summarize(rows, provider.name, provider.fingerprint, config)
    if not all(limit.passed for limit in audit.limits):
        raise _rejected(rows, samples, audit, context)
    _write(rows, samples, audit, output)
    context.tracker.artifact(output / AUDIT_FILE, "cues")
    context.tracker.artifact(output / SAMPLES_FILE, "cues")
    return _summary(audit)


EXTRACT = Stage("extract", extract, ExtractSummary)


def _splits(dataset: Path) -> list[str]:
    """The splits that the dataset has examples in."""
    splits = [split for split, count in read_manifest(dataset).examples.items() if count]
    if TAUGHT_SPLIT not in splits:
        raise VicurError(
            f"has no examples in the split {TAUGHT_SPLIT!r}, and those are the ones that need cues.",
            where=str(dataset),
            remedy="Give its examples to that split.",
        )
    return splits


def _extract_all(
    provider: CueProvider, dataset: Path, splits: Sequence[str], config: CuesConfig, context: Context
) -> tuple[list[AuditedCue], list[Sample]]:
    """Rows of all examples, and some of them to look at. Holds one split's images at a time."""
    rows: list[AuditedCue] = []
    samples: list[Sample] = []
    for split in splits:
        examples = read_examples(dataset, split)
        audited = []
        cues = provider.cues(examples)
        for number, (example, cue) in enumerate(zip(examples, cues, strict=True), start=1):
            audited.append(audit_cue(example, cue))
            context.events.progress(number, len(examples), f"{split} cues")
        rows += audited
        # Half of the page is for the cues that teach, the other half for all the rest.
        rest = config.samples // 2 if len(splits) > 1 else 0
        count = config.samples - rest if split == TAUGHT_SPLIT else rest // (len(splits) - 1)
        samples += choose(audited, examples, count)
    return rows, samples


def _write(rows: Sequence[AuditedCue], samples: Sequence[Sample], audit: Audit, folder: Path) -> None:
    write_cues(rows, audit.provider, folder)
    (folder / AUDIT_FILE).write_text(audit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / SAMPLES_FILE).write_text(render_page(samples, audit), encoding="utf-8")


def _rejected(rows: Sequence[AuditedCue], samples: Sequence[Sample], audit: Audit, context: Context) -> VicurError:
    """Keeps what would have been written, with a list of what is wrong, and makes the error that tells of it."""
    failed = [limit for limit in audit.limits if not limit.passed]
    kept = context.work / "rejected"
    with new_folder(kept) as folder:
        _write(rows, samples, audit, folder)
        found = ((limit, row) for limit in failed for row in offenders(rows, limit))
        write_jsonl((_offence(limit, row) for limit, row in found), folder / OFFENDERS_FILE)
    return VicurError(
        "\n".join(_complaint(limit, offenders(rows, limit)) for limit in failed) + "\n",
        where=f"cues of the split {TAUGHT_SPLIT!r}",
        remedy=f"Look at {kept / SAMPLES_FILE} ({OFFENDERS_FILE} beside it lists all of them), then mend the dataset, "
        "choose another cues.provider or raise the limit.",
    )


def _complaint(limit: Limit, wrong: Sequence[AuditedCue]) -> str:
    what = {
        "max_skipped_share": "of the examples have no cue",
        "max_ungrounded_share": "of the cues disagree with what the dataset knows to be in the image",
        "max_leak_share": "of the cues give the answer away",
    }[limit.setting]
    lines = [f"{_percent(limit.share)} {what} (cues.{limit.setting} allows {_percent(limit.limit)}):"]
    lines += [f"  {row.example_id}: {_fault(row, limit)}" for row in wrong[:_SHOWN]]
    lines += [f"  and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return "\n".join(lines)


def _fault(row: AuditedCue, limit: Limit) -> str:
    if limit.setting == "max_leak_share" and row.leak is not None:
        return f'{row.leak.rule} in "{row.cue}"'
    return row.skipped or f'"{row.cue}"'


def _offence(limit: Limit, row: AuditedCue) -> dict[str, str | None]:
    return {
        "limit": limit.setting,
        "example_id": row.example_id,
        "kind": row.kind,
        "cue": row.cue,
        "fault": _fault(row, limit) if row.cue is None or row.leak is not None else "disagrees with the image",
    }


def _summary(audit: Audit) -> ExtractSummary:
    taught = audit.taught
    by_split = {split: audited.all for split, audited in audit.splits.items()}
    return ExtractSummary(
        key_figure=key_figure(taught),
        metrics=_metrics(audit),
        provider=audit.provider,
        cues={split: figures.cues for split, figures in by_split.items()},
        skipped={split: figures.skipped for split, figures in by_split.items()},
        grounded_share=taught.grounded_share,
        answer_leak_share=taught.answer_leak_share or 0.0,
        reasoning_share=taught.reasoning_share or 0.0,
        mean_words=taught.mean_words or 0.0,
        by_split=by_split,
    )


def key_figure(taught: Figures) -> str:
    """The line for whoever follows the run: ``4,050 cues, 99.2 % grounded, 0.0 % leak the answer``."""
    known = (
        "no truth to check against" if taught.grounded_share is None else f"{_percent(taught.grounded_share)} grounded"
    )
    return f"{taught.cues:,} cues, {known}, {_percent(taught.answer_leak_share)} leak the answer"


def _metrics(audit: Audit) -> dict[str, float]:
    """Figures of each split and, of the split that teaches, of each kind, by MLflow's rules for names."""
    metrics: dict[str, float] = {}
    for split, audited in audit.splits.items():
        metrics |= _known(f"cues/{split}", audited.all, _SPLIT_METRICS)
    for kind, figures in audit.splits[TAUGHT_SPLIT].kinds.items():
        metrics |= _known(f"cues/{TAUGHT_SPLIT}/{re.sub(r'[^A-Za-z0-9_. -]', '_', kind)}", figures, _KIND_METRICS)
    return metrics


def _known(prefix: str, figures: Figures, names: Sequence[str]) -> dict[str, float]:
    values = {name: getattr(figures, name) for name in names}
    return {f"{prefix}/{name}": float(value) for name, value in values.items() if value is not None}


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0.0):.1f} %"
