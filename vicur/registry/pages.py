"""Descriptions for MLflow: of a model version and of a pipeline run.

MLflow renders them as Markdown on the page of the version or run. Its table of versions shows the first line as plain text, so that line
contains no markup. Tables have no margins, so a heading follows each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from vicur.config.evaluation import REPORT_SPLIT
from vicur.evaluation.comparison import Comparison, SplitComparison
from vicur.evaluation.statistics import Difference
from vicur.registry.gate import GateOutcome
from vicur.registry.history import MoveRecord
from vicur.registry.lineage import Lineage
from vicur.registry.versions import Version
from vicur.wording import estimate, interval, percent, points

_SHORT = 12
_SPACE = "\N{NO-BREAK SPACE}" * 3
_MOVES = "### Moves of the alias champion"


def version_page(
    lineage: Lineage,
    comparison: Comparison,
    outcome: GateOutcome | None,
    training_run_link: str | None,
    against_champion: tuple[str, dict[str, Difference]] | None = None,
) -> str:
    """Return the description of a version: results, verdict of the gate, strengths and weaknesses, and lineage.

    Args:
        against_champion: number of the champion that it was compared with, and the differences by part of the test questions.
    """
    on_test = comparison.students[lineage.method].splits[REPORT_SPLIT]
    origin = [
        _training(lineage),
        f"Dataset {lineage.dataset_source}, DVC hash `{lineage.dataset}`",
        f"Cues from {lineage.cue_provider}, `{lineage.cues[:_SHORT]}`",
        f"Base `{lineage.parent[:_SHORT]}`, checkpoint `{lineage.checkpoint[:_SHORT]}`",
        f"Code `{lineage.code}`, vicur {lineage.package}, seed {lineage.seed}",
    ]
    if training_run_link is not None:
        origin.append(f"[Training run]({training_run_link})")
    return "\n".join(
        [
            f"{lineage.method}: {percent(on_test.accuracy)} of {on_test.examples} test questions, base {percent(on_test.base_accuracy)}",
            "",
            *_gate(outcome),
            "",
            "### Accuracy",
            "",
            *_accuracies(comparison, [lineage.method]),
            "",
            "### Better and worse at",
            "",
            *_slices("its base", _of_kinds(on_test)),
            *(_slices(f"version {against_champion[0]}", against_champion[1]) if against_champion is not None else ()),
            "",
            "### Origin",
            "",
            *[f"- {line}" for line in origin],
        ]
    )


def with_moves(description: str, moves: Sequence[MoveRecord]) -> str:
    """Return a version's description with the list of the moves that it took part in, the newest first."""
    rest = description.partition(_MOVES)[0].rstrip()
    lines = [f"- {_one_line(str(move))}" for move in reversed(moves)]
    return "\n".join([rest, "", _MOVES, "", *lines]).lstrip() if lines else rest


def run_page(comparison: Comparison, verdicts: Sequence[str], version: Version, gate: GateOutcome) -> str:
    """Return the description of a pipeline run: results, registered version, and verdict of the gate."""
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    # Relative to the address of MLflow, which differs between this process and the user's browser.
    page = f"#/models/{quote(version.model)}/versions/{version.number}"
    return "\n".join(
        [
            f"Registered [{version.model} version {version.number}]({page}){aliases}. The full report is the artifact `report.html`.",
            "",
            *_gate(gate),
            "",
            "### Accuracy",
            "",
            *_accuracies(comparison, list(comparison.students)),
            "",
            "### Conclusions",
            "",
            *[f"- {verdict}" for verdict in verdicts],
        ]
    )


def verdict_page(title: str, outcome: GateOutcome) -> str:
    """Return the verdict as a separate page, for Kubeflow Pipelines."""
    return "\n".join([f"## {title}", "", *_gate(outcome)])


def _accuracies(comparison: Comparison, methods: Sequence[str]) -> list[str]:
    splits = list(comparison.base_accuracy)
    base = [percent(comparison.base_accuracy[split]) for split in splits]
    rows = [
        _row("model", [*splits, f"points on {REPORT_SPLIT}"]),
        f"|---|{'---|' * (len(splits) + 1)}",
        _row("base", [*base, ""]),
    ]
    for method in methods:
        compared = comparison.students[method].splits
        difference = compared[REPORT_SPLIT].difference
        cells = [percent(compared[split].accuracy) if split in compared else "" for split in splits]
        gain = f"{points(difference.mean)} ({interval(difference.low, difference.high, comparison.confidence)})"
        rows.append(_row(method, [*cells, gain]))
    return rows


def _row(name: str, cells: Sequence[str]) -> str:
    # MLflow's tables have no space between columns.
    return f"| {name} | {' | '.join(f'{_SPACE}{cell}' for cell in cells)} |"


def _gate(outcome: GateOutcome | None) -> list[str]:
    if outcome is None:
        return ["### The gate has not decided yet"]
    head = "### The gate passed this version" if outcome.passed else "### The gate did not pass this version"
    # Rules that did not pass come first.
    rules = sorted(outcome.rules, key=lambda rule: rule.passed)
    return [head, "", *[f"- {'✓' if rule.passed else '✗'} {_one_line(rule.reason)}" for rule in rules]]


def _of_kinds(on_test: SplitComparison) -> dict[str, Difference]:
    return {f"{REPORT_SPLIT}/kind/{kind}": each.difference for kind, each in on_test.by_kind.items()}


def _slices(other: str, differences: dict[str, Difference]) -> Iterator[str]:
    """Yield a line for each verdict, with the kinds of questions that it applies to."""
    kinds = {name.rpartition("/")[2]: each for name, each in differences.items() if "/kind/" in name}
    for verdict, phrase in (("better", "Better than"), ("worse", "Worse than"), ("tie", "No clear difference to")):
        found = [
            f"{kind} {estimate(each.mean, each.low, each.high)}"
            for kind, each in kinds.items()
            if each.verdict == verdict
        ]
        if found:
            yield f"- {phrase} {other}: {'; '.join(found)}"


def _training(lineage: Lineage) -> str:
    if lineage.teacher == "none":
        teacher = "without a teacher"
    elif lineage.privilege == "none":
        teacher = "with a teacher that had no privilege"
    else:
        teacher = f"with a teacher whose privilege was the {lineage.privilege}"
    return f"Method {lineage.method}: trained {teacher}, {'with' if lineage.cue_recovery else 'without'} the cue recovery module"


def _one_line(text: str) -> str:
    # A reason may come from a user: a line break would end the list.
    return " ".join(text.split())
