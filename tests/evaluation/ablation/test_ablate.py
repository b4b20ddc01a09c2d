"""The ablation stage, on simulated arms with known accuracies."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import context
from tests.evaluation.factory import BASE, OPSD, VICUR, Reader, write_evaluation, write_student
from tests.training.factory import SMALL
from vicur.config.ablation import Analysis
from vicur.config.data import Pool
from vicur.data.digit_scenes import build_pools
from vicur.errors import VicurError
from vicur.evaluation.ablation.ablate import AblateSummary, ablate
from vicur.evaluation.ablation.results import AblationResults

MANY = SMALL.model_copy(update={split: Pool(digits_per_class=4, scenes=40) for split in ("test", "ood")})
POOLS = build_pools(MANY, seed=0)
EXAMPLES = [*POOLS["test"], *POOLS["ood"]]
PERFECT, BLIND = Reader("perfect", misreads=0.0), Reader("blind", misreads=1.0)
ARMS = [
    {"name": "opsd", "about": "answer", "method": "opsd", "paper": "opsd"},
    {"name": "good", "about": "cue and module", "method": "vicur", "paper": "vicur"},
    {"name": "off", "about": "module off", "students_of": "good"},
]
CONTRASTS = [
    {"question": "Is it good?", "first": "good", "second": "opsd", "expected": "better"},
    {"question": "Does off differ?", "first": "off", "second": "base", "expected": "worse"},
    {"question": "Is base worse?", "first": "base", "second": "good"},
]
READERS = {"opsd": OPSD, "good": PERFECT, "off": BASE}


def cells(root: Path, seeds: tuple[int, ...] = (0, 1), readers: Mapping[str, Reader] = READERS) -> dict[str, Path]:
    """Write evaluations and trainings of simulated arms. ``off`` gives the same answers as the base."""
    inputs = {"base": write_evaluation(BASE, EXAMPLES, root / "base")}
    for name, reader in readers.items():
        for seed in seeds:
            of_reader = 0 if name == "off" else seed
            inputs[f"{name}.{seed}"] = write_evaluation(reader, EXAMPLES, root / f"{name}.{seed}", seed=of_reader)
            if name != "off":
                curves = replace(VICUR, method=name)
                inputs[f"{name}.{seed}.student"] = write_student(curves, root / f"{name}.{seed}.s", seed=seed)
    return inputs


@dataclass(frozen=True)
class Ablated:
    """Output of the stage."""

    folder: Path
    summary: AblateSummary
    results: AblationResults
    page: str


def run(inputs: Mapping[str, Path], root: Path, **settings: Any) -> Ablated:
    output = root / "output"
    output.mkdir(parents=True)
    analysis = Analysis.model_validate({"arms": ARMS, "contrasts": CONTRASTS, "resamples": 1000, **settings})
    summary = ablate(analysis, inputs, output, context(root))
    results = AblationResults.model_validate_json((output / "ablation.json").read_text())
    return Ablated(output, summary, results, (output / "results.md").read_text())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Evaluations and trainings of the arms."""
    return cells(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def ablated(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Ablated:
    """The ablation of the arms."""
    return run(inputs, tmp_path_factory.mktemp("ablated"))


def accuracy(folder: Path, split: str) -> float:
    return float(json.loads((folder / "metrics.json").read_text())["splits"][split]["accuracy"])


def test_an_arm_has_mean_and_standard_deviation_over_its_seeds(inputs: dict[str, Path], ablated: Ablated) -> None:
    results = ablated.results
    for split in ("test", "ood"):
        by_seed = [accuracy(inputs[f"opsd.{seed}"], split) for seed in (0, 1)]
        opsd = results.arms["opsd"].accuracy[split]
        assert opsd.by_seed == by_seed
        assert opsd.mean == pytest.approx(sum(by_seed) / 2)
        # Of two values, the standard deviation is their distance divided by the root of two.
        assert opsd.std == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)
        expected = opsd.mean - accuracy(inputs["base"], split)
        assert results.arms["opsd"].difference[split].mean == pytest.approx(expected)
    assert results.arms["good"].accuracy["test"].mean == 1.0
    assert results.seeds == [0, 1]
    assert ablated.summary.metrics["good/test/accuracy"] == 1.0


def test_outcomes_follow_from_intervals_and_ties_are_reported_as_ties(ablated: Ablated) -> None:
    summary, results = ablated.summary, ablated.results
    assert [result.outcome for result in results.contrasts] == ["held", "did not hold", "reported"]
    off = results.contrasts[1].difference["test"]
    assert (off.mean, off.low, off.high) == (0, 0, 0)
    assert summary.held[1].startswith("Does off differ? off ties with base on test: +0.0 [+0.0, +0.0] points")
    assert summary.held[0].startswith("Is it good? good is better than opsd on test: +")
    assert results.contrasts[2].difference["test"].verdict == "worse"
    assert results.contrasts[2].difference["test"].mean == -results.arms["good"].difference["test"].mean
    held, _, rest = ablated.page.partition("## Expectations that did not hold")
    assert "Is it good?" in held
    assert "Does off differ?" in rest
    assert summary.key_figure == "3 arms, 2 seeds: 1 of 2 expectations held"


def test_an_effect_in_the_other_direction_does_not_hold(tmp_path: Path) -> None:
    result = run(cells(tmp_path, readers={**READERS, "good": BLIND}), tmp_path)
    assert result.results.contrasts[0].outcome == "did not hold"
    assert "good is worse than opsd on test: −" in result.summary.held[0]


def test_arms_with_a_row_in_the_paper_are_shown_with_its_figures(ablated: Ablated) -> None:
    held = ablated.summary.held
    assert "The paper: Geometry3K +4.8 at 2B, +4.7 at 8B; Vision-R1 test +1.6 at 2B, +2.8 at 8B" in held[0]
    assert "The paper" not in held[1]
    row = next(line for line in ablated.page.splitlines() if line.startswith("| `opsd` |") and "34.14" in line)
    assert [cell.strip() for cell in row.split("|")][4:6] == ["34.14", "52.40"]


def test_the_page_embeds_exactly_the_plots_that_were_written(ablated: Ablated) -> None:
    files = {f"results/{path.name}" for path in (ablated.folder / "results").iterdir()}
    assert set(re.findall(r"\]\((results/[^)]+)\)", ablated.page)) == files
    assert {"results/accuracy.svg", "results/validation.svg", "results/gap.svg", "results/gap-quarters.svg"} <= files


def svg_texts(file: Path) -> set[str]:
    root = ET.fromstring(file.read_text())  # noqa: S314 (written by this test)
    return {text.strip() for node in root.iter("{http://www.w3.org/2000/svg}text") for text in node.itertext()}


def test_plots_label_arms_axes_and_splits(ablated: Ablated) -> None:
    plots = ablated.folder / "results"
    assert {"opsd", "good", "off", "accuracy, %", "Test", "Out of domain"} <= svg_texts(plots / "accuracy.svg")
    validation = svg_texts(plots / "validation.svg")
    assert {"opsd", "good", "step", "accuracy, %"} <= validation
    assert "off" not in validation, "an arm that trains nothing has no curve"
    assert {"1st quarter", "log-prob gap, nats per token"} <= svg_texts(plots / "gap-quarters.svg")


def test_repeating_an_ablation_gives_the_same_bytes(inputs: dict[str, Path], ablated: Ablated, tmp_path: Path) -> None:
    again = run(inputs, tmp_path)
    files = [path.relative_to(again.folder) for path in again.folder.rglob("*") if path.is_file()]
    assert len(files) >= 7
    for file in files:
        assert (again.folder / file).read_bytes() == (ablated.folder / file).read_bytes(), file


def test_a_missing_evaluation_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"no evaluation of opsd\.1"):
        run({name: path for name, path in inputs.items() if name != "opsd.1"}, tmp_path)


def test_an_evaluation_on_different_questions_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    short = write_evaluation(OPSD, EXAMPLES[:-1], tmp_path / "short")
    with pytest.raises(VicurError, match="different questions"):
        run({**inputs, "opsd.1": short}, tmp_path)
