"""Students are compared with their base on benchmarks: by group, with the metric of each, and only on the same terms."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.evaluation.benchmarks.judging import gold_of, write_responses, wrong
from tests.evaluation.conftest import context
from vicur.config.comparison import ComparisonConfig
from vicur.config.run import RunConfig
from vicur.config.sources import Sources
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.comparing import compare_benchmarks
from vicur.evaluation.benchmarks.index import write_index
from vicur.evaluation.benchmarks.scores import RECORD
from vicur.evaluation.benchmarks.scoring import score
from vicur.evaluation.compare import compare
from vicur.evaluation.statistics import paired_difference
from vicur.registry.figures import _benchmark_figures
from vicur.registry.tags import benchmarks_text

BOOTSTRAP = partial(paired_difference, seed=0, resamples=1000)


@pytest.fixture(scope="module")
def scored(staged: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scores of a base that answers a third of the questions wrongly, and of a student that answers all rightly."""
    root = tmp_path_factory.mktemp("scored")
    inputs = {}
    for model in ("base", "vicur"):
        (root / model).mkdir()
        for name in ("wemath", "mathverse"):
            golds = gold_of(staged[name])
            said = [gold if model == "vicur" or n % 3 != 1 else wrong(gold) for n, gold in enumerate(golds)]
            responses = [f"The answer is {each}." for each in said]
            answers = write_responses(staged[name], responses, root / "answers" / model / name)
            score(staged[name], answers, root / model / name, None, None, max_unclear=1)
        write_index(["wemath", "mathverse"], root / model)
        inputs[f"{model}.benchmarks"] = root / model
    return inputs


def test_differences_are_those_of_the_scores_with_an_interval_over_groups(scored: dict[str, Path]) -> None:
    found = compare_benchmarks(scored, ["vicur"], BOOTSTRAP)
    for name, each in found.items():
        base, student = each.models["base"], each.models["vicur"]
        assert student.difference is not None
        assert student.difference.mean == pytest.approx(student.score - base.score), name
        assert student.difference.mean > 0
        assert -1 <= student.difference.low <= student.difference.mean <= student.difference.high <= 1
    # We-Math counts problems, not rows.
    assert (found["wemath"].units, found["wemath"].models["base"].counts.rows) == (3, 10)
    assert found["mathverse"].groups == 2
    assert compare_benchmarks({}, ["vicur"], BOOTSTRAP) == {}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda record: record["answers"].update(dataset="0" * 64), "questions"),
        (lambda record: record["answers"].update(settings={"seed": 1}), "settings of answers"),
        (lambda record: record.update(harness="ms-vlmeval 0.0.19"), "harness"),
        (lambda record: record.update(judge={"model": "m", "revision": "", "served": "m", "fingerprint": ""}), "judge"),
    ],
)
def test_scores_on_other_terms_are_refused(scored: dict[str, Path], tmp_path: Path, change: Any, what: str) -> None:
    import shutil

    other = shutil.copytree(scored["vicur.benchmarks"], tmp_path / "other")
    file = other / "wemath" / RECORD
    record = json.loads(file.read_text())
    change(record)
    file.unlink()
    file.write_text(json.dumps(record))
    with pytest.raises(VicurError, match=f"student vicur: was scored on wemath with another {what}"):
        compare_benchmarks({**scored, "vicur.benchmarks": other}, ["vicur"], BOOTSTRAP)


def test_comparison_report_figures_and_tags_have_the_benchmarks(
    compared: dict[str, Path], scored: dict[str, Path], output: Path, tmp_path: Path
) -> None:
    summary = compare(ComparisonConfig(resamples=1000, cards=0), {**compared, **scored}, output, context(tmp_path))
    assert summary.metrics["bench/wemath/vicur/score"] == 1.0
    assert summary.metrics["bench/wemath/vicur/difference"] > 0
    page = (output / "report.html").read_text()
    for text in (
        'id="benchmarks"',
        "by rules, without a judge",
        "33.90",
        "Unparsed",
        "Cut off",
        "does not name its judge",
    ):
        assert text in page
    from vicur.evaluation.compare import ComparisonFile

    comparison = ComparisonFile.model_validate_json((output / "comparison.json").read_text())
    candidate: Any = SimpleNamespace(comparison=comparison, lineage=SimpleNamespace(method="vicur"))
    figures = _benchmark_figures(candidate)
    assert figures["bench/wemath/score"] == 1.0
    assert figures["bench/mathverse/unparsed_share"] == 0.0
    assert "bench/mathverse/difference_low" in figures
    assert benchmarks_text(comparison.benchmarks, "vicur").startswith("wemath 100.0 %, +")


def test_a_limit_on_a_benchmark_that_the_run_does_not_score_is_refused() -> None:
    limits = {"bench/wemath/score": {"min": 0.3}}
    values: dict[str, Any] = {"methods": ["vicur"], "registry": {"gate": {"limits": limits}}}
    with pytest.raises(VicurError, match=r"set evaluation\.sets \(a benchmark"):
        validated(RunConfig, values, Sources("test.yaml"))
    wemath = {"type": "benchmark", "name": "wemath", "path": "w", "hash": f"{'0' * 32}.dir"}
    values |= {"evaluation": {"sets": [wemath]}, "benchmarks": {"judge": {"url": "none"}}}
    validated(RunConfig, values, Sources("test.yaml"))
