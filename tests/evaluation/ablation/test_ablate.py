"""From cells with known answers to the table, the verdicts and the page."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
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


def cells(root: Path, seeds: tuple[int, ...] = (0, 1), readers: dict[str, Reader] = READERS) -> dict[str, Path]:
    """Evaluations and trainings of simulated arms; ``off`` answers as the base does."""
    inputs = {"base": write_evaluation(BASE, EXAMPLES, root / "base")}
    for name, reader in readers.items():
        for seed in seeds:
            drawn = 0 if name == "off" else seed
            inputs[f"{name}.{seed}"] = write_evaluation(reader, EXAMPLES, root / f"{name}.{seed}", seed=drawn)
            if name != "off":
                curves = replace(VICUR, method=name)
                inputs[f"{name}.{seed}.student"] = write_student(curves, root / f"{name}.{seed}.s", seed=seed)
    return inputs


def run(inputs: dict[str, Path], root: Path, **settings: Any) -> tuple[AblateSummary, AblationResults, str]:
    output = root / "output"
    output.mkdir()
    analysis = Analysis.model_validate({"arms": ARMS, "contrasts": CONTRASTS, "resamples": 1000, **settings})
    summary = ablate(analysis, inputs, output, context(root))
    results = AblationResults.model_validate_json((output / "ablation.json").read_text())
    return summary, results, (output / "results.md").read_text()


def accuracy(folder: Path, split: str) -> float:
    return float(json.loads((folder / "metrics.json").read_text())["splits"][split]["accuracy"])


def test_an_arm_is_the_mean_and_spread_of_its_cells(tmp_path: Path) -> None:
    inputs = cells(tmp_path)
    summary, results, _ = run(inputs, tmp_path)
    for split in ("test", "ood"):
        by_seed = [accuracy(inputs[f"opsd.{seed}"], split) for seed in (0, 1)]
        found = results.arms["opsd"].accuracy[split]
        assert found.by_seed == by_seed
        assert found.mean == pytest.approx(sum(by_seed) / 2)
        # Of two values, the standard deviation is their distance over the root of two.
        assert found.std == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)
        expected = found.mean - accuracy(inputs["base"], split)
        assert results.arms["opsd"].difference[split].mean == pytest.approx(expected)
    assert results.arms["good"].accuracy["test"].mean == 1.0
    assert results.seeds == [0, 1]
    assert summary.metrics["good/test/accuracy"] == 1.0


def test_outcomes_follow_from_intervals_and_a_tie_is_told_as_one(tmp_path: Path) -> None:
    summary, results, page = run(cells(tmp_path), tmp_path)
    assert [result.outcome for result in results.contrasts] == ["held", "did not hold", "reported"]
    off = results.contrasts[1].difference["test"]
    assert (off.mean, off.low, off.high) == (0, 0, 0)
    assert summary.held[1].startswith("Does off differ? A tie: off against base +0.0 [+0.0, +0.0] points on test")
    assert summary.held[0].startswith("Is it good? Better: good against opsd +")
    assert results.contrasts[2].difference["test"].verdict == "worse"
    assert results.contrasts[2].difference["test"].mean == -results.arms["good"].difference["test"].mean
    held, _, rest = page.partition("## What did not hold")
    assert "Is it good?" in held
    assert "Does off differ?" in rest
    assert summary.key_figure == "3 arms, 2 seeds: 1 of 2 expectations held"


def test_the_other_direction_does_not_hold_either(tmp_path: Path) -> None:
    inputs = cells(tmp_path, readers={**READERS, "good": BLIND})
    summary, results, _ = run(inputs, tmp_path)
    assert results.contrasts[0].outcome == "did not hold"
    assert "Worse: good against opsd −" in summary.held[0]


def test_the_papers_figures_stand_beside_those_of_the_arms_that_it_has(tmp_path: Path) -> None:
    summary, _, page = run(cells(tmp_path), tmp_path)
    assert "The paper: Geometry3K +4.8 at 2B, +4.7 at 8B; Vision-R1 test +1.6 at 2B, +2.8 at 8B" in summary.held[0]
    assert "The paper" not in summary.held[1]
    row = next(line for line in page.splitlines() if line.startswith("| `opsd` |") and "34.14" in line)
    assert [cell.strip() for cell in row.split("|")][4:6] == ["34.14", "52.40"]


def test_the_page_shows_every_plot_that_was_drawn_and_no_other(tmp_path: Path) -> None:
    _, _, page = run(cells(tmp_path), tmp_path)
    drawn = {f"results/{path.name}" for path in (tmp_path / "output" / "results").iterdir()}
    assert set(re.findall(r"\]\((results/[^)]+)\)", page)) == drawn
    assert {"results/accuracy.svg", "results/validation.svg", "results/gap.svg", "results/gap-quarters.svg"} <= drawn
    for file in drawn:
        ET.fromstring((tmp_path / "output" / file).read_text())  # noqa: S314 (our own file)


def test_the_same_cells_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = cells(tmp_path)
    pages = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        run(inputs, tmp_path / name)
        files = sorted((tmp_path / name / "output").rglob("*.*"))
        pages.append({file.name: file.read_bytes() for file in files if file.is_file()})
    assert pages[0] == pages[1]


def test_a_missing_cell_is_named(tmp_path: Path) -> None:
    inputs = cells(tmp_path)
    del inputs["opsd.1"]
    with pytest.raises(VicurError, match=r"no evaluation of opsd\.1"):
        run(inputs, tmp_path)


def test_a_cell_that_answered_other_questions_is_refused(tmp_path: Path) -> None:
    inputs = cells(tmp_path)
    inputs["opsd.1"] = write_evaluation(OPSD, EXAMPLES[:-1], tmp_path / "short")
    with pytest.raises(VicurError, match="other questions"):
        run(inputs, tmp_path)
