"""Markdown descriptions for MLflow: of a model version and of a pipeline run."""

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
    """Return the description of a version: results, decision of the gate, and lineage."""
    student = comparison.students[lineage.method]
    on_test = student.splits[REPORT_SPLIT]
    lines = [
        f"**{lineage.method}** answers {percent(on_test.accuracy)} of {on_test.examples} test questions correctly, its base "
        f"{percent(on_test.base_accuracy)}.",
        "",
        *_accuracies(comparison, [lineage.method]),
        "",
        *_gate(outcome),
        "",
        _training(lineage),
        "",
        f"Dataset {lineage.dataset_source}, DVC `{lineage.dataset}`. Cues from {lineage.cue_provider}, "
        f"`{lineage.cues[:_SHORT]}`. Base `{lineage.parent[:_SHORT]}`. Checkpoint `{lineage.checkpoint[:_SHORT]}`. "
        f"Code `{lineage.code}`, vicur {lineage.package}.",
    ]
    if training_run_link is not None:
        lines += ["", f"[Training run]({training_run_link})"]
    return "\n".join(lines)


def run_page(comparison: Comparison, verdicts: Sequence[str], version: Version, gate: GateOutcome) -> str:
    """Return the description of a pipeline run: results, registered version, and decision of the gate."""
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    # Relative to the address of MLflow, which differs between this process and the user's browser.
    page = f"#/models/{quote(version.model)}/versions/{version.number}"
    return "\n".join(
        [
            *_accuracies(comparison, list(comparison.students)),
            "",
            *[f"- {verdict}" for verdict in verdicts],
            "",
            f"Model: [{version.model} version {version.number}]({page}){aliases}",
            "",
            *_gate(gate),
            "",
            "The full report is the artifact `report.html`.",
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
        compared = comparison.students[method].splits
        difference = compared[REPORT_SPLIT].difference
        cells = " | ".join(percent(compared[s].accuracy) if s in compared else "" for s in splits)
        gain = f"{points(difference.mean)} points ({interval(difference.low, difference.high, comparison.confidence)})"
        rows.append(f"| {method} | {cells} | {gain} |")
    return rows


def _gate(outcome: GateOutcome | None) -> list[str]:
    if outcome is None:
        return ["The gate has not decided yet."]
    head = "This version **passed** the gate:" if outcome.passed else "This version **did not pass** the gate:"
    # Rules that did not pass come first.
    rules = sorted(outcome.rules, key=lambda rule: rule.passed)
    return [head, "", *[f"- {'✓' if rule.passed else '✗'} {rule.reason}" for rule in rules]]


def _training(lineage: Lineage) -> str:
    if lineage.teacher == "none":
        teacher = "without a teacher"
    elif lineage.privilege == "none":
        teacher = "with a teacher that had no privilege"
    else:
        teacher = f"with a teacher whose privilege was the {lineage.privilege}"
    return f"Trained {teacher}, {'with' if lineage.cue_recovery else 'without'} the cue recovery module."
