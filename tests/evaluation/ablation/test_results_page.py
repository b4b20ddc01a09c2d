"""The committed page of results is what ``vicur ablate`` generates for the figures on it."""

from __future__ import annotations

import re
from pathlib import Path

from vicur.config.ablation import AblationConfig
from vicur.config.loading import load_settings
from vicur.evaluation.ablation.page import page_of
from vicur.evaluation.ablation.plots import Plot
from vicur.evaluation.ablation.results import AblationResults, ArmResult, ContrastResult, SeedStatistics
from vicur.evaluation.statistics import Difference

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/results.md").read_text(encoding="utf-8")
CONFIG = load_settings(AblationConfig, ROOT / "configs/ablation.yaml")
SPLITS = ("test", "ood")
_ESTIMATE = re.compile(r"(\S+) \[(\S+), (\S+)\]")


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "")) / 100


def difference(text: str) -> Difference:
    found = _ESTIMATE.search(text)
    assert found is not None, text
    mean, low, high = map(number, found.groups())
    return Difference(mean=mean, low=low, high=high)


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the table below a heading, by their first cell."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in rows}


def statistics(text: str) -> SeedStatistics:
    mean, _, std = text.partition(" ± ")
    return SeedStatistics(mean=number(mean), std=number(std), by_seed=[0.0] * len(CONFIG.seeds))


def arms() -> dict[str, ArmResult]:
    rows, leaked = table("Accuracy"), table("Hint leakage in training")
    result = {}
    for arm in CONFIG.arms:
        about, test, ood, of_test, of_ood, best = rows[arm.name]
        assert about == arm.about
        trained = next(each for each in CONFIG.arms if each.name == (arm.students_of or arm.name))
        objective = trained.training.get("objective", {"type": CONFIG.training.objective.type})
        counts = [int(count.replace(",", "")) for count in leaked.get(arm.name, [])]
        result[arm.name] = ArmResult(
            about=arm.about,
            paper=arm.paper,
            objective=objective["type"],
            accuracy=dict(zip(SPLITS, map(statistics, (test, ood)), strict=True)),
            difference=dict(zip(SPLITS, map(difference, (of_test, of_ood)), strict=True)),
            evidence=None,
            best_step=SeedStatistics(mean=float(best), std=0, by_seed=[]) if best else None,
            leaked=(counts[0], counts[1]) if counts else None,
        )
    return result


def contrasts() -> list[ContrastResult]:
    result = []
    for contrast in CONFIG.contrasts:
        line = next(line for line in PAGE.splitlines() if line.startswith(f"- {contrast.question} "))
        test, ood = (difference(text) for text in line.partition(" The paper:")[0].split(" points, "))
        held = "held" if contrast.expected == test.verdict else "did not hold"
        outcome = "reported" if contrast.expected is None else held
        by_split = {"test": test, "ood": ood}
        result.append(ContrastResult.model_validate({"contrast": contrast, "difference": by_split, "outcome": outcome}))
    return result


def test_the_committed_page_is_generated_from_its_figures_and_the_committed_configuration() -> None:
    test, ood = table("Accuracy")["base"][1:3]
    results = AblationResults(
        seeds=list(CONFIG.seeds),
        base={"test": number(test), "ood": number(ood)},
        examples={"test": 1200, "ood": 600},
        arms=arms(),
        contrasts=contrasts(),
        confidence=CONFIG.confidence,
        resamples=CONFIG.resamples,
    )
    embedded = re.findall(r"!\[(.*)\]\(results/(.*)\)", PAGE)
    assert all((ROOT / "docs/results" / file).is_file() for _, file in embedded)
    plots = [Plot(file, title, "") for title, file in embedded]
    assert page_of(results, plots, "vicur ablate") == PAGE
