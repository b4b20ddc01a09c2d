"""Scoring a dataset: as the evaluation, streaming, resumable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.evaluation.conftest import context
from vicur.cli import app
from vicur.config.evaluation import EvaluationConfig
from vicur.config.prompts import PromptConfig
from vicur.errors import VicurError
from vicur.evaluation import evaluate
from vicur.evaluation import score as scoring
from vicur.evaluation.predictions import PREDICTIONS
from vicur.evaluation.score import parts_folder, score

# Parts of 16 questions; sampled, so that the random streams count.
CONFIG = EvaluationConfig.model_validate(
    {
        "decoding": {"type": "sampled", "sampling": {"max_new_tokens": 4}},
        "max_examples": 20,
        "batch_size": 1,
        "attention_samples": 0,
    }
)
SPLITS = ("validation", "test", "ood")


def test_predictions_equal_those_of_the_evaluation_byte_for_byte(
    dataset: Path, base_model: Path, output: Path, tmp_path: Path
) -> None:
    evaluate(CONFIG, {"dataset": dataset, "model": base_model}, output, context(tmp_path))
    seen: list[tuple[int, int, str]] = []
    counts = score(
        base_model,
        dataset,
        SPLITS,
        tmp_path / "new/scores.parquet",
        CONFIG,
        seed=0,
        on_progress=lambda *progress: seen.append(progress),
    )
    expected = pq.read_table(output / PREDICTIONS)
    found = pq.read_table(tmp_path / "new/scores.parquet")
    assert found.equals(expected)
    assert (counts.rows, counts.resumed) == (60, 0)
    assert counts.correct == sum(expected["correct"].to_pylist())
    assert seen[-1] == (60, 60, "ood")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["scores.parquet"]


def test_an_interrupted_run_continues_and_gives_the_same_bytes(
    dataset: Path, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, interrupted = tmp_path / "whole.parquet", tmp_path / "interrupted.parquet"
    score(base_model, dataset, ["test"], whole, CONFIG, seed=0)
    answered: list[int] = []
    original = scoring.answer_part

    def dies(*arguments: object, **settings: object) -> object:
        answered.append(len(arguments[2]))  # type: ignore[arg-type]
        if len(answered) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "answer_part", dies)
    with pytest.raises(KeyboardInterrupt):
        score(base_model, dataset, ["test"], interrupted, CONFIG, seed=0)
    assert not interrupted.exists()
    with pytest.raises(VicurError, match=r"parts of a run with another seed.*Delete the folder"):
        score(base_model, dataset, ["test"], interrupted, CONFIG, seed=1)
    for name, value in (("cue_recovery", False), ("max_prompt_tokens", 77)):
        with pytest.raises(VicurError, match=f"parts of a run with another {name}"):
            score(base_model, dataset, ["test"], interrupted, CONFIG.model_copy(update={name: value}), seed=0)
    counts = score(base_model, dataset, ["test"], interrupted, CONFIG, seed=0)
    assert counts.resumed == 16
    assert answered == [16, 4, 4]
    assert interrupted.read_bytes() == whole.read_bytes()
    assert not parts_folder(interrupted).exists()


def test_a_missing_split_is_refused_with_those_of_the_dataset(dataset: Path, base_model: Path, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"has no split 'tset'. Choose from .*test"):
        score(base_model, dataset, ["tset"], tmp_path / "x.parquet", CONFIG, seed=0)


def test_a_prompt_that_is_too_long_is_reported_and_counts_as_wrong(
    dataset: Path, base_model: Path, tmp_path: Path
) -> None:
    short = CONFIG.model_copy(update={"max_prompt_tokens": 16, "max_examples": 3})
    counts = score(base_model, dataset, ["test"], tmp_path / "x.parquet", short, seed=0)
    assert (counts.rows, counts.unanswered, counts.correct) == (3, 3, 0)
    assert pq.read_table(tmp_path / "x.parquet")["unanswered"].to_pylist() == ["prompt too long"] * 3


def test_the_command_scores_a_folder_with_the_settings_of_the_evaluation(
    dataset: Path, base_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "x.parquet"
    settings = ["evaluation.max_examples=5", "evaluation.decoding.type=greedy", "evaluation.decoding.max_new_tokens=3"]
    arguments = ["score", str(base_model), str(dataset), "--output", str(output), "--split", "test"]
    done = CliRunner().invoke(app, [*arguments, *(word for each in settings for word in ("--set", each))])
    assert done.exit_code == 0, done.output
    assert "5 rows" in done.output
    assert max(pq.read_table(output)["tokens"].to_pylist()) <= 3


@pytest.mark.parametrize("with_record", [True, False])
def test_a_student_is_asked_with_the_prompts_of_its_training(
    dataset: Path, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_record: bool
) -> None:
    asked: list[PromptConfig] = []
    student = shutil.copytree(base_model, tmp_path / "student")
    if with_record:
        record = {"training": {"prompts": {"system": "Be brief."}}}
        (student / "vicur.json").write_text(json.dumps(record))

    def remember(*arguments: Any, **_: Any) -> scoring.ScoreCounts:
        asked.append(arguments[4].prompts)
        return scoring.ScoreCounts(1, 1, 0, 0)

    monkeypatch.setattr(scoring, "score", remember)
    overrides = ["--set", "data.system_prompt=Answer.", "--set", "data.pixels.max=4096"]
    arguments = ["score", str(student), str(dataset), "--output", str(tmp_path / "x.parquet"), *overrides]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert asked[0].system == ("Be brief." if with_record else "Answer.")
    assert asked[0].pixels.of("evaluation").max == 4096
