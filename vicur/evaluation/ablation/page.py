"""The page of results, as Markdown. Every figure and every verdict on it comes from ``ablation.json``."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.evaluation.ablation.paper import LEAKAGE, SIZES, SOURCE, TABLES
from vicur.evaluation.ablation.plots import Plot
from vicur.evaluation.ablation.results import AblationResults, ArmResult, Spread
from vicur.evaluation.ablation.verdicts import interval, sentence

PLOTS = "results"
_HEADINGS = {
    "held": "What held",
    "did not hold": "What did not hold",
    "reported": "What was compared without an expectation",
}


def page_of(results: AblationResults, plots: Sequence[Plot], name: str) -> str:
    """The page.

    Args:
        results: the figures.
        plots: the plots, which lie in a folder beside the page.
        name: the command that makes it.
    """
    parts = [
        "# Results of the ablation",
        f"Written by `{name}`; do not edit.",
        _terms(results),
        _outcomes(results),
        "## Accuracy",
        _table(results),
        "## Beside the paper",
        _paper(results),
        "## Hint leakage in training",
        _leakage(results),
        "## How the trainings went",
        *(f"![{plot.title}]({PLOTS}/{plot.file})" for plot in plots),
    ]
    return "\n\n".join(parts) + "\n"


def _terms(results: AblationResults) -> str:
    seeds, level = len(results.seeds), f"{100 * results.confidence:g} %"
    asked = ", ".join(f"{count:,} {_split(split)}" for split, count in results.examples.items())
    return (
        f"Each arm was trained with {seeds} seed{'s' if seeds > 1 else ''} and answered the same questions ({asked}) greedily, without a "
        f"hint. Accuracies are means and standard deviations over the seeds, in percent. Differences are in points, with {level} intervals "
        f"from {results.resamples:,} paired bootstrap resamples over seeds and scenes; an interval that includes zero is a tie. What was "
        "expected of a comparison was written into the configuration before it ran: the paper's direction, or the logic of a control."
    )


def _outcomes(results: AblationResults) -> str:
    parts = []
    for outcome, heading in _HEADINGS.items():
        found = [result for result in results.contrasts if result.outcome == outcome]
        if found:
            lines = [f"- {sentence(result, results)}" for result in found]
            parts.append("\n\n".join((f"## {heading}", "\n".join(lines))))
    return "\n\n".join(parts)


def _table(results: AblationResults) -> str:
    splits = [split for split in ("test", "ood") if split in results.base]
    head = [
        "arm",
        "what it is",
        *map(_split, splits),
        *(f"difference, {_split(split)}" for split in splits),
        "best step",
    ]
    rows = [
        ["base", "before any training", *(f"{100 * results.base[s]:.1f}" for s in splits), *("" for _ in splits), ""]
    ]
    for name, arm in results.arms.items():
        accuracy = [_spread(arm.accuracy[split]) for split in splits]
        differences = [interval(arm.difference[split]) for split in splits]
        best = "" if arm.best_step is None else f"{arm.best_step.mean:.0f}"
        rows.append([f"`{name}`", arm.about, *accuracy, *differences, best])
    return _markdown(head, rows)


def _paper(results: AblationResults) -> str:
    held = [split for split in ("test", "ood") if split in results.base]
    columns = [(table, n) for table in TABLES for n in range(len(SIZES))]
    head = ["", *(f"here, {_split(split)}" for split in held), *(f"{table.name}, {SIZES[n]}" for table, n in columns)]

    def row(shown: str, name: str, ours: list[str]) -> list[str]:
        theirs = [f"{table.rows[name][n]:.2f}" if name in table.rows else "" for table, n in columns]
        return [shown, *ours, *theirs]

    rows = [row("base", "base", [f"{100 * results.base[split]:.1f}" for split in held])]
    for name, arm in results.arms.items():
        if arm.paper is not None:
            rows.append(row(f"`{name}`", arm.paper, [_spread(arm.accuracy[split]) for split in held]))
    objectives = dict.fromkeys(
        arm.objective for arm in results.arms.values() if arm.paper is not None and arm.objective
    )
    ours = f" (here the objectives are {', '.join(objectives)})" if objectives else ""
    about = (
        f"The paper ({SOURCE}) trains Qwen3-VL 2B and 8B on other data with k1, GRPO with rewards{ours}. Levels cannot be compared, "
        "directions can."
    )
    return f"{about}\n\n{_markdown(head, rows)}"


def _leakage(results: AblationResults) -> str:
    rows = [[f"`{name}`", *_counts(arm)] for name, arm in results.arms.items() if arm.leaked is not None]
    about = f"Rollouts that hold the word “Hint”, and how often they hold it, over all steps and seeds. {LEAKAGE}"
    return f"{about}\n\n{_markdown(['arm', 'samples', 'occurrences'], rows)}" if rows else about


def _counts(arm: ArmResult) -> list[str]:
    samples, occurrences = arm.leaked or (0, 0)
    return [f"{samples:,}", f"{occurrences:,}"]


def _spread(spread: Spread) -> str:
    mean = f"{100 * spread.mean:.1f}"
    return f"{mean} ± {100 * spread.std:.1f}" if len(spread.by_seed) > 1 else mean


def _split(split: str) -> str:
    return "out of domain" if split == "ood" else split


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
