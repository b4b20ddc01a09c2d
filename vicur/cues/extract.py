"""The extraction stage: get a visual cue for each example and audit all of them.

Reads a dataset and writes ``cues.parquet`` (the cues for the teacher's hints), ``skipped.jsonl``, ``audit.json`` and ``samples.html``
(the audit for people). Cues are extracted for the distillation split, which is trained on, and for the held-out splits, which show how
a provider does on images that it was not fitted on. The limits apply to the distillation split.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from vicur.config.cues import TRAINING_SPLIT, CuesConfig
from vicur.cues.audit import Audit, AuditedCue, Figures, Limit, offenders, summarize
from vicur.cues.findings import Label
from vicur.cues.portions import merged_rows
from vicur.cues.rows import audited_rows, splits_with_cues
from vicur.cues.samples import Sample, choose, render_page
from vicur.cues.store import write_cues, write_findings, write_jsonl
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.stage.portions import portions_in
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import new_folder
from vicur.wording import percent

log = logging.getLogger(__name__)

AUDIT_FILE = "audit.json"
SAMPLES_FILE = "samples.html"
OFFENDERS_FILE = "offenders.jsonl"
_SHOWN = 3
_SPLIT_METRICS = (
    *("cues", "skipped_share", "grounded_share", "answer_leak_share", "solution_leak_share", "unusable_share"),
    *("reasoning_share", "mean_words"),
)
_LABELS_OF: dict[str, tuple[Label, ...]] = {
    "max_leak_share": ("answer_leak",),
    "max_solution_share": ("solution_leak",),
    "max_unusable_share": ("injected", "unusable"),
}
_KIND_METRICS = ("grounded_share", "answer_leak_share")


class ExtractSummary(Summary):
    """Summary of an extraction. Shares without a split are those of the distillation split."""

    provider: str
    cues: dict[str, int]
    """Cues by split."""
    skipped: dict[str, int]
    """Examples without a cue, by split."""
    grounded_share: float | None
    """Share of the cues that agree with the dataset's knowledge of the image; ``None`` if it has none."""
    answer_leak_share: float
    """Share of the cues that give the answer away."""
    solution_leak_share: float = 0.0
    """Share of the cues that state a step of a solution."""
    unusable_share: float = 0.0
    """Share of the cues that are refusals, echoes, injected instructions or otherwise unusable."""
    reasoning_share: float
    """Share of the cues with words that belong to a solution."""
    mean_words: float
    by_split: dict[str, Figures]
    treated: dict[str, int] = Field(default={}, exclude_if=lambda counts: not counts)
    """Distillation cues that a policy changed or dropped, by label and action: ``{"answer_leak/drop": 3}``."""


def extract(config: CuesConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> ExtractSummary:
    """Extract and audit cues of the input ``dataset``, or merge the portions among the inputs, in which that has been done.

    Raises:
        VicurError: if the provider cannot work with the dataset, if the cues exceed a limit, or, before any cue is paid for, if the base
            cannot read the dataset.
    """
    dataset = inputs["dataset"]
    context.tracker.params(config.model_dump(mode="json"))
    splits = splits_with_cues(dataset, config)
    if portions := portions_in(inputs):
        rows, fingerprint = merged_rows(portions, dataset, config, context.seed)
    else:
        rows, fingerprint = audited_rows(dataset, config, context)
    samples = _samples(rows, dataset, splits, config.samples)
    audit = summarize(rows, fingerprint, config)
    if not all(limit.passed for limit in audit.limits):
        raise _rejected(rows, samples, audit, context)
    _write(rows, samples, audit, output)
    context.tracker.artifact(output / AUDIT_FILE, "cues")
    context.tracker.artifact(output / SAMPLES_FILE, "cues")
    return _summary(audit)


EXTRACT = Stage("extract", extract, ExtractSummary)


def _samples(rows: Sequence[AuditedCue], dataset: Path, splits: Sequence[str], count: int) -> list[Sample]:
    by_split: dict[str, list[AuditedCue]] = {}
    for row in rows:
        by_split.setdefault(row.split, []).append(row)
    # The distillation split fills half of the page, all other splits share the rest.
    rest = count // 2 if len(splits) > 1 else 0
    samples: list[Sample] = []
    for split in splits:
        share = count - rest if split == TRAINING_SPLIT else rest // (len(splits) - 1)
        samples += choose(by_split[split], StoredSplit(dataset, split), share)
    return samples


def _write(rows: Sequence[AuditedCue], samples: Sequence[Sample], audit: Audit, folder: Path) -> None:
    write_cues(rows, audit.provider, folder)
    write_findings(rows, folder)
    (folder / AUDIT_FILE).write_text(audit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / SAMPLES_FILE).write_text(render_page(samples, audit), encoding="utf-8")


def _rejected(rows: Sequence[AuditedCue], samples: Sequence[Sample], audit: Audit, context: Context) -> VicurError:
    """Write the rejected cues and the list of offenders to the work folder and return the error that reports them."""
    failed = [limit for limit in audit.limits if not limit.passed]
    # The work folder outlives a failed stage, so that the rejected cues can be inspected.
    rejected = context.work / "rejected"
    with new_folder(rejected) as folder:
        _write(rows, samples, audit, folder)
        pairs = ((limit, row) for limit in failed for row in offenders(rows, limit))
        write_jsonl((_offender_record(limit, row) for limit, row in pairs), folder / OFFENDERS_FILE)
    return VicurError(
        "\n".join(_violation(limit, offenders(rows, limit)) for limit in failed) + "\n",
        where=f"cues of the split {TRAINING_SPLIT!r}",
        remedy=f"Inspect {rejected / SAMPLES_FILE} ({OFFENDERS_FILE} next to it lists all offenders). Then fix the dataset, "
        "choose another cues.provider, set cues.policies to drop or redact such cues, or raise the limit.",
    )


def _violation(limit: Limit, rows: Sequence[AuditedCue]) -> str:
    if limit.label is not None:
        lines = [f"{len(rows):,} cues with the finding {limit.label} (cues.{limit.setting} is fail):"]
        lines += [f"  {row.example_id}: {_fault(row, limit)}" for row in rows[:_SHOWN]]
        return "\n".join(lines + ([f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []))
    problem = {
        "max_skipped_share": "of the examples have no cue",
        "max_ungrounded_share": "of the cues disagree with the dataset's knowledge of the image",
        "max_leak_share": "of the cues give the answer away",
        "max_solution_share": "of the cues state a step of a solution",
        "max_unusable_share": "of the cues are no cues (refusals, echoes, injected instructions and the like)",
    }[limit.setting]
    allowed = f"cues.{limit.setting} allows {percent(limit.limit)}"
    # The number says more than a share that rounds to 0.0 %.
    lines = [f"{percent(limit.share or 0.0)} {problem} ({len(rows):,} in total; {allowed}):"]
    lines += [f"  {row.example_id}: {_fault(row, limit)}" for row in rows[:_SHOWN]]
    lines += [f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "\n".join(lines)


def _fault(row: AuditedCue, limit: Limit) -> str:
    finding = row.found(*((limit.label,) if limit.label else _LABELS_OF.get(limit.setting, ())))
    if finding is not None:
        return f'{finding.rule} in "{row.cue}"'
    return row.skipped or f'"{row.cue}"'


def _offender_record(limit: Limit, row: AuditedCue) -> dict[str, str | None]:
    return {
        "limit": limit.setting,
        "example_id": row.example_id,
        "kind": row.kind,
        "cue": row.cue,
        "fault": "disagrees with the image" if limit.setting == "max_ungrounded_share" else _fault(row, limit),
    }


def _summary(audit: Audit) -> ExtractSummary:
    distill = audit.distill
    by_split = {split: audited.all for split, audited in audit.splits.items()}
    return ExtractSummary(
        key_figure=key_figure(distill),
        metrics=_metrics(audit)
        | {f"cues/{TRAINING_SPLIT}/treated/{name}": float(count) for name, count in distill.treated.items()},
        provider=audit.provider,
        cues={split: figures.cues for split, figures in by_split.items()},
        skipped={split: figures.skipped for split, figures in by_split.items()},
        grounded_share=distill.grounded_share,
        answer_leak_share=distill.answer_leak_share or 0.0,
        solution_leak_share=distill.solution_leak_share or 0.0,
        unusable_share=distill.unusable_share or 0.0,
        reasoning_share=distill.reasoning_share or 0.0,
        mean_words=distill.mean_words or 0.0,
        by_split=by_split,
        treated=distill.treated,
    )


def key_figure(figures: Figures) -> str:
    """Summarize in one line: ``4,050 cues, 99.2 % grounded, 0.0 % leak the answer``."""
    share = figures.grounded_share
    grounded = "no truth to check against" if share is None else f"{percent(share)} grounded"
    return f"{figures.cues:,} cues, {grounded}, {percent(figures.answer_leak_share or 0.0)} leak the answer"


def _metrics(audit: Audit) -> dict[str, float]:
    """Return metrics of each split and, for the distillation split, of each kind of question."""
    metrics: dict[str, float] = {}
    for split, audited in audit.splits.items():
        metrics |= _present(f"cues/{split}", audited.all, _SPLIT_METRICS)
    for kind, figures in audit.splits[TRAINING_SPLIT].kinds.items():
        # MLflow allows no other characters in names.
        name = re.sub(r"[^A-Za-z0-9_. -]", "_", kind)
        metrics |= _present(f"cues/{TRAINING_SPLIT}/{name}", figures, _KIND_METRICS)
    return metrics


def _present(prefix: str, figures: Figures, names: Sequence[str]) -> dict[str, float]:
    values = {name: getattr(figures, name) for name in names}
    return {f"{prefix}/{name}": float(value) for name, value in values.items() if value is not None}
