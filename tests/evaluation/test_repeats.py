"""Repeated samples of each question: mean accuracy and pass@k."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.evaluation.conftest import context
from vicur.config.comparison import ComparisonConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.evaluation import compare, evaluate
from vicur.evaluation.journal import Journal
from vicur.evaluation.metrics import RepeatMetrics, read_metrics, write_metrics
from vicur.evaluation.predictions import read_predictions
from vicur.evaluation.repeats import pass_at
from vicur.modeling import generation
from vicur.storage.folders import tree_sha256

PLAIN: dict[str, Any] = {
    "splits": ["test"],
    "decoding": {"type": "greedy", "max_new_tokens": 4},
    "max_examples": 9,
    "batch_size": 5,
    "attention_samples": 0,
}
SAMPLING = {"type": "sampled", "sampling": {"temperature": 1.0, "max_new_tokens": 4}}
REPEATED = EvaluationConfig.model_validate({**PLAIN, "repeats": {"count": 3, "max_examples": 6, "decoding": SAMPLING}})


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_correct_response(correct: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(correct)))
    draws = [any(correct[n] for n in chosen) for chosen in combinations(range(len(correct)), k)]
    assert pass_at(k, len(correct), sum(correct)) == pytest.approx(sum(draws) / len(draws))


def test_pass_at_more_than_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="pass@4"):
        pass_at(4, 3, 1)


@pytest.fixture(scope="module")
def repeated(dataset: Path, base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeated")
    (folder / "output").mkdir()
    summary = evaluate(REPEATED, {"dataset": dataset, "model": base_model}, folder / "output", context(folder))
    metrics = read_metrics(folder / "output").splits["test"].repeats
    assert metrics is not None
    assert summary.metrics["test/repeats/mean"] == metrics.mean
    assert summary.metrics["test/repeats/pass_at/3"] == metrics.pass_at[3]
    return folder / "output"


def test_the_metrics_are_those_of_the_stored_responses(repeated: Path) -> None:
    rows = pq.read_table(repeated / "repeats.parquet").to_pylist()
    assert [row["sample"] for row in rows] == [0, 1, 2] * 6
    assert set(Counter(row["example_id"] for row in rows).values()) == {3}
    metrics = read_metrics(repeated).splits["test"].repeats
    assert metrics is not None
    assert (metrics.examples, metrics.count, list(metrics.pass_at)) == (6, 3, [1, 2, 3])
    assert metrics.mean == metrics.pass_at[1] == sum(row["correct"] for row in rows) / 18
    assert metrics.low <= metrics.mean <= metrics.high
    assert metrics.sampling["temperature"] == 1.0
    assert len({row["response"] for row in rows}) > 6  # the samples of a question differ


def test_an_image_is_encoded_once_for_all_samples(
    dataset: Path, base_model: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[str]] = []
    encode = generation.encode_images

    def counted(model: Any, images: Any) -> Any:
        batches.append(sorted({image.key for image in images}))
        return encode(model, images)

    monkeypatch.setattr(generation, "encode_images", counted)
    evaluate(REPEATED, {"dataset": dataset, "model": base_model}, output, context(output.parent))
    rounds = batches[2:]  # after the nine questions themselves, in batches of five
    assert [len(keys) for keys in rounds] == [1] * 6


def test_other_responses_do_not_change(repeated: Path, dataset: Path, base_model: Path, output: Path) -> None:
    evaluate(
        EvaluationConfig.model_validate(PLAIN),
        {"dataset": dataset, "model": base_model},
        output,
        context(output.parent),
    )
    assert read_predictions(output) == read_predictions(repeated)
    assert "repeats" not in (output / "metrics.json").read_text()
    assert "repeats" not in EvaluationConfig().identity()


def test_an_interrupted_evaluation_gives_the_same_files(
    repeated: Path, dataset: Path, base_model: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, batches = Journal.add, []

    def interrupted(self: Journal, responses: Any) -> None:
        add(self, responses)
        batches.append(len(responses))
        if len(batches) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(REPEATED, {"dataset": dataset, "model": base_model}, output, context(output.parent))
    evaluate(REPEATED, {"dataset": dataset, "model": base_model}, output, context(output.parent))
    assert tree_sha256(output) == tree_sha256(repeated)


def test_sampling_without_chance_is_refused() -> None:
    greedy = {"type": "sampled", "sampling": {"temperature": 0.0}}
    with pytest.raises(ValidationError, match="temperature of 0"):
        EvaluationConfig.model_validate({"repeats": {"count": 2, "decoding": greedy}})


def test_the_report_has_a_table_of_repeated_samples(compared: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(compared["vicur"], tmp_path / "vicur")
    metrics = read_metrics(folder)
    metrics.splits["test"].repeats = RepeatMetrics(
        examples=40,
        count=4,
        mean=0.25,
        low=0.125,
        high=0.375,
        pass_at={1: 0.25, 2: 0.5, 4: 0.75},
        unfinished_share=0.0,
        sampling={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "presence_penalty": 0.0},
    )
    write_metrics(metrics, folder)
    (tmp_path / "output").mkdir()
    inputs = {**compared, "vicur": folder}
    compare(ComparisonConfig(resamples=1000, cards=0), inputs, tmp_path / "output", context(tmp_path))
    page = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
    table = re.search(r"<b>Repeated samples</b>.*?</table>", page, re.DOTALL)
    assert table is not None
    assert re.findall(r"[\d.]+ %", table.group()) == [
        "25.0 %",
        "12.5 %",
        "37.5 %",
        "25.0 %",
        "50.0 %",
        "75.0 %",
        "0.0 %",
    ]
