"""The cue audit: problems of cues, counted by split and by kind of question, and compared with the configured limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from vicur.config.cues import TRAINING_SPLIT, CuesConfig
from vicur.cues.findings import LABELS, Finding, Label, examine
from vicur.cues.providers import NoCue
from vicur.cues.reasoning import reasoning_words
from vicur.data.schema import Example


@dataclass(frozen=True)
class Treated(Finding):
    """A finding for which a policy dropped or redacted the cue."""

    action: str = "drop"
    before: str = ""
    """The cue before."""


@dataclass(frozen=True)
class AuditedCue:
    """One example with its cue, or with the reason for having none, and the audit's findings."""

    example_id: str
    split: str
    kind: str
    cue: str | None  # None if the example was skipped
    skipped: str | None = None  # reason for having no cue
    grounded: bool | None = None  # None if the dataset does not know the image's content
    findings: tuple[Finding, ...] = ()
    reasoning: tuple[str, ...] = ()  # words of the cue that belong to a solution
    words: int = 0
    treated: tuple[Treated, ...] = ()  # findings for which a policy changed or dropped the cue

    @property
    def leak(self) -> Finding | None:
        """The first way in which the cue gives the answer away."""
        return self.found("answer_leak")

    def found(self, *labels: Label) -> Finding | None:
        """Return the first finding with one of the labels."""
        return next((finding for finding in self.findings if finding.label in labels), None)


class Figures(BaseModel):
    """Counts and shares over a set of examples. A share with an empty denominator is ``None``."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    examples: int
    cues: int
    skipped: int
    with_truth: int
    """Cues of examples for which the dataset knows the image's content."""
    ungrounded: int
    leaking: int
    """Cues that give the answer away."""
    solving: int = 0
    """Cues that state a step of a solution."""
    unusable: int = 0
    """Cues that are refusals, echoes, injected instructions or otherwise unusable."""
    reasoning: int
    """Cues with words that belong to a solution."""
    grounded_share: float | None
    """Share of the cues with truth."""
    answer_leak_share: float | None
    """Share of the cues."""
    solution_leak_share: float | None = None
    """Share of the cues."""
    unusable_share: float | None = None
    """Share of the cues."""
    reasoning_share: float | None
    """Share of the cues."""
    skipped_share: float | None
    """Share of the examples."""
    mean_words: float | None
    longest_words: int
    treated: dict[str, int] = Field(default={}, exclude_if=lambda counts: not counts)
    """Cues that a policy redacted or dropped, by label and action: ``{"answer_leak/drop": 3}``."""


class SplitAudit(BaseModel):
    """Figures of one split, in total and by kind of question, and how often each rule or reason applied."""

    all: Figures
    kinds: dict[str, Figures]
    leak_rules: dict[str, int]
    findings: dict[str, dict[str, int]] = {}
    """Cues by label and rule. A cue with several findings counts for each."""
    skip_reasons: dict[str, int]
    reasoning_words: dict[str, int]


class Limit(BaseModel):
    """A configured limit and the measured share, which is ``None`` if its denominator is empty."""

    setting: str
    limit: float
    share: float | None
    passed: bool

    @property
    def label(self) -> Label | None:
        """The label whose policy is ``fail``, if this limit is not a setting of its own."""
        return next((each for each in LABELS if self.setting == f"policies.{each}"), None)


class Audit(BaseModel):
    """The whole audit, written to ``audit.json``."""

    provider: str
    fingerprint: str
    taught_split: str = TRAINING_SPLIT
    limits: list[Limit]
    splits: dict[str, SplitAudit]

    @property
    def distill(self) -> Figures:
        """Figures of the distillation split, whose cues the teacher sees."""
        return self.splits[self.taught_split].all


def audit_cue(example: Example, cue: str | NoCue) -> AuditedCue:
    """Audit the cue of one example."""
    if isinstance(cue, NoCue):
        return AuditedCue(example.id, example.split, example.kind, cue=None, skipped=cue.reason)
    findings, grounding = examine(cue, example)
    return AuditedCue(
        example.id,
        example.split,
        example.kind,
        cue=cue,
        grounded=grounding.grounded,
        findings=findings,
        reasoning=reasoning_words(cue),
        words=len(cue.split()),
    )


def summarize(rows: Iterable[AuditedCue], fingerprint: str, config: CuesConfig) -> Audit:
    """Aggregate all audited cues and compare the distillation split with the limits."""
    by_split: dict[str, list[AuditedCue]] = {}
    for row in rows:
        by_split.setdefault(row.split, []).append(row)
    splits = {split: _audit_split(by_split[split]) for split in config.splits if split in by_split}
    limits = [*_limits(splits[TRAINING_SPLIT].all, config), *_failures(by_split[TRAINING_SPLIT], config)]
    return Audit(provider=config.provider.type, fingerprint=fingerprint, limits=limits, splits=splits)


def offenders(rows: Sequence[AuditedCue], limit: Limit) -> list[AuditedCue]:
    """Return the rows of the distillation split that count against a limit."""
    if limit.label is not None:
        return [row for row in rows if row.split == TRAINING_SPLIT and row.found(limit.label)]
    counts: Mapping[str, list[AuditedCue]] = {
        "max_skipped_share": [row for row in rows if row.skipped is not None],
        "max_ungrounded_share": [row for row in rows if row.grounded is False],
        "max_leak_share": [row for row in rows if row.leak is not None],
        "max_solution_share": [row for row in rows if row.found("solution_leak")],
        "max_unusable_share": [row for row in rows if row.found("injected", "unusable")],
    }
    return [row for row in counts[limit.setting] if row.split == TRAINING_SPLIT]


def _audit_split(rows: list[AuditedCue]) -> SplitAudit:
    kinds = sorted({row.kind for row in rows})
    return SplitAudit(
        all=_figures(rows),
        kinds={kind: _figures([row for row in rows if row.kind == kind]) for kind in kinds},
        leak_rules=_counted(row.leak.rule for row in rows if row.leak is not None),
        findings=_by_label(rows),
        skip_reasons=_counted(row.skipped for row in rows if row.skipped is not None),
        reasoning_words=_counted(word for row in rows for word in row.reasoning),
    )


def _by_label(rows: Sequence[AuditedCue]) -> dict[str, dict[str, int]]:
    rules: dict[str, list[str]] = {}
    for row in rows:
        for label, rule in dict.fromkeys((finding.label, finding.rule) for finding in row.findings):
            rules.setdefault(label, []).append(rule)
    return {label: _counted(rules[label]) for label in sorted(rules)}


def _figures(rows: Sequence[AuditedCue]) -> Figures:
    cues = [row for row in rows if row.cue is not None]
    known = [row for row in cues if row.grounded is not None]
    ungrounded = sum(row.grounded is False for row in known)
    leaking = sum(row.leak is not None for row in cues)
    reasoning = sum(bool(row.reasoning) for row in cues)
    solving = sum(row.found("solution_leak") is not None for row in cues)
    unusable = sum(row.found("injected", "unusable") is not None for row in cues)
    skipped = len(rows) - len(cues)
    return Figures(
        examples=len(rows),
        cues=len(cues),
        skipped=skipped,
        with_truth=len(known),
        ungrounded=ungrounded,
        leaking=leaking,
        solving=solving,
        unusable=unusable,
        reasoning=reasoning,
        grounded_share=_share(len(known) - ungrounded, len(known)),
        answer_leak_share=_share(leaking, len(cues)),
        solution_leak_share=_share(solving, len(cues)),
        unusable_share=_share(unusable, len(cues)),
        reasoning_share=_share(reasoning, len(cues)),
        skipped_share=_share(skipped, len(rows)),
        mean_words=_share(sum(row.words for row in cues), len(cues)),
        longest_words=max((row.words for row in cues), default=0),
        treated=_treated(rows),
    )


def _treated(rows: Sequence[AuditedCue]) -> dict[str, int]:
    pairs = (pair for row in rows for pair in {(each.label, each.action) for each in row.treated})
    return dict(sorted(Counter(f"{label}/{action}" for label, action in pairs).items()))


def _limits(distill: Figures, config: CuesConfig) -> list[Limit]:
    ungrounded = _share(distill.ungrounded, distill.with_truth)
    shares = {
        "max_skipped_share": (config.max_skipped_share, distill.skipped_share),
        "max_ungrounded_share": (config.max_ungrounded_share, ungrounded),
        "max_leak_share": (config.max_leak_share, distill.answer_leak_share),
        "max_solution_share": (config.max_solution_share, distill.solution_leak_share),
        "max_unusable_share": (config.max_unusable_share, distill.unusable_share),
    }
    return [
        Limit(setting=setting, limit=limit, share=share, passed=share is None or share <= limit)
        for setting, (limit, share) in shares.items()
    ]


def _failures(rows: Sequence[AuditedCue], config: CuesConfig) -> list[Limit]:
    """Return a limit of zero for each label whose policy is ``fail``."""
    limits = []
    for label in LABELS:
        if config.policies.of(label) == "fail":
            share = _share(sum(row.found(label) is not None for row in rows), len(rows))
            limits.append(Limit(setting=f"policies.{label}", limit=0.0, share=share, passed=not share))
    return limits


def _counted(items: Iterable[str]) -> dict[str, int]:
    """Count each item, most frequent first."""
    return dict(sorted(Counter(items).items(), key=lambda entry: (-entry[1], entry[0])))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
