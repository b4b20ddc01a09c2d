"""What people read in MLflow: the pages of a version and of a pipeline run, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from vicur.config.evaluation import REPORT_SPLIT
from vicur.evaluation.comparison import Comparison
from vicur.registry.gate import GateOutcome
from vicur.registry.lineage import Lineage
from vicur.registry.versions import Version
from vicur.wording import interval, percent, points

_SHORT = 12


def version_page(
    lineage: Lineage, comparison: Comparison, outcome: GateOutcome | None, training_run_link: str | None
) -> str:
    """The description of a version: how it did, what the gate said, where it comes from."""
    student = comparison.students[lineage.method]
    shown = student.splits[REPORT_SPLIT]
    lines = [
        f"**{lineage.method}**, {percent(shown.accuracy)} of {shown.examples} test questions right; its base "
        f"{percent(shown.base_accuracy)}.",
        "",
        *_accuracies(comparison, [lineage.method]),
        "",
        *_gate(outcome),
        "",
        _taught_with(lineage),
        "",
        f"Dataset {lineage.dataset_source}, DVC `{lineage.dataset}`. Cues of {lineage.cue_provider}, "
        f"`{lineage.cues[:_SHORT]}`. Base `{lineage.parent[:_SHORT]}`. Checkpoint `{lineage.checkpoint[:_SHORT]}`. "
        f"Code `{lineage.code}`, vicur {lineage.package}.",
    ]
    if training_run_link is not None:
        lines += ["", f"[Training run]({training_run_link})"]
    return "\n".join(lines)


def run_page(comparison: Comparison, verdicts: Sequence[str], version: Version, gate: GateOutcome) -> str:
    """The description of a pipeline run: what came of it."""
    named = f" ({', '.join(version.aliases)})" if version.aliases else ""
    page = f"#/models/{quote(version.model)}/versions/{version.number}"
    return "\n".join(
        [
            *_accuracies(comparison, list(comparison.students)),
            "",
            *[f"- {verdict}" for verdict in verdicts],
            "",
            f"Model: [{version.model} version {version.number}]({page}){named}",
            "",
            *_gate(gate),
            "",
            "The whole report is among the artifacts: `report.html`.",
        ]
    )


def _accuracies(comparison: Comparison, methods: Sequence[str]) -> list[str]:
    splits = list(comparison.base_accuracy)
    rows = [
        f"| | {' | '.join(splits)} | difference on {REPORT_SPLIT} |",
        f"|---|{'---|' * (len(splits) + 1)}",
        f"| base | {' | '.join(percent(comparison.base_accuracy[s]) for s in splits)} | |",
    ]
    for method in methods:
        found = comparison.students[method].splits
        difference = found[REPORT_SPLIT].difference
        cells = " | ".join(percent(found[s].accuracy) if s in found else "" for s in splits)
        said = f"{points(difference.mean)} points ({interval(difference.low, difference.high, comparison.confidence)})"
        rows.append(f"| {method} | {cells} | {said} |")
    return rows


def _gate(outcome: GateOutcome | None) -> list[str]:
    if outcome is None:
        return ["The gate has not decided yet."]
    head = "The gate **passed** it:" if outcome.passed else "The gate **did not pass** it:"
    rules = sorted(outcome.rules, key=lambda rule: rule.passed)
    return [head, "", *[f"- {'✓' if rule.passed else '✗'} {rule.reason}" for rule in rules]]


def _taught_with(lineage: Lineage) -> str:
    if lineage.teacher == "none":
        teacher = "It had no teacher"
    elif lineage.privilege == "none":
        teacher = "Its teacher knew what it knew"
    else:
        teacher = f"Its teacher's privilege was the {lineage.privilege}"
    return f"{teacher}; it was trained {'with' if lineage.cue_recovery else 'without'} the cue recovery module."
