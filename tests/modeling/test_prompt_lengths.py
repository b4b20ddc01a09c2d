"""Prompts that are too long, with their images, in evaluation and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import png
from tests.evaluation.conftest import context
from vicur.config.base import model_folder
from vicur.config.evaluation import EvaluationConfig
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.config.training import TrainConfig
from vicur.data import Example
from vicur.data.dataset import DatasetWriter
from vicur.errors import VicurError
from vicur.evaluation.evaluate import evaluate
from vicur.evaluation.metrics import read_metrics
from vicur.evaluation.predictions import read_predictions
from vicur.modeling.ahead import example_pixels
from vicur.modeling.chat import Chat
from vicur.modeling.prompt_lengths import prompt_length
from vicur.modeling.readability import context_length
from vicur.training.trainer import Validation

TINY = model_folder("tiny")
TIMES = [3600 + n / 2 for n in range(40)]
LONG = {"question": "What is the sum? " * 200}


def example(number: int = 0, **changes: Any) -> Example:
    fields = {"id": f"row-{number}", "images": (png(),), "question": "What is the sum?", "answer": "12", "source": "s"}
    return Example(**{**fields, "split": "test", **changes})


def dataset(folder: Path, rows: int, split: str, **of_last: Any) -> Path:
    folder.mkdir()
    writer = DatasetWriter(folder)
    for number in range(rows):
        writer.add(example(number, split=split, **(of_last if number == rows - 1 else {})))
    writer.finish({}, None, 0)
    return folder


@pytest.mark.parametrize("behind", ["", "\n[Hint]: The sum is 12."])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"choices": ("7", "12"), "answer": "B"},
        {"images": (png(), png())},
        {"question": "<image> sum?"},
        {"images": ()},
        # Long enough for the times of its frames to outweigh what a bound allows for the question and the template.
        {"images": (png(),) * 40, "question": "sum?", "metadata": {"video": {"timestamps": TIMES, "fps": 2.0}}},
    ],
    ids=["plain", "choices", "images", "marker", "text", "video"],
)
def test_lengths_are_those_of_the_prompt_with_its_images(changes: dict[str, Any], behind: str) -> None:
    chat = Chat.load(
        TINY, PromptConfig(system="What is the sum?", pixels=PixelBudgets(teacher=PixelBudget(min=40_000)))
    )
    row = example(**changes)
    for use in ("student", "teacher"):
        content = chat.content(row)
        content = (*content[:-1], f"{content[-1]}{behind}")
        length = len(chat.prompt(content, example_pixels(chat, row, use)).ids)
        assert prompt_length(chat, row, use, length - 1, behind) == length
        # A number below the true one may only be returned if it fits.
        assert prompt_length(chat, row, use, length, behind) in (0, length)
        assert prompt_length(chat, row, use, 100_000, behind) == 0


def test_an_evaluation_counts_a_question_with_too_long_a_prompt_as_incorrect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = dataset(tmp_path / "data", 3, "test", **LONG)
    output = tmp_path / "out"
    output.mkdir()
    config = EvaluationConfig(max_prompt_tokens=500, max_unanswered_share=0.4, attention_samples=0)
    summary = evaluate(config, {"dataset": folder, "model": TINY}, output, context(tmp_path))
    predictions = read_predictions(output)
    assert [p.unanswered for p in predictions] == [None, None, "prompt too long"]
    assert (predictions[2].response, predictions[2].correct, predictions[2].tokens) == ("", False, 0)
    metrics = read_metrics(output).splits["test"]
    assert (metrics.examples, metrics.unanswered) == (3, 1)
    assert metrics.accuracy == sum(p.correct for p in predictions) / 3
    assert metrics.mean_tokens == sum(p.tokens for p in predictions) / 2
    assert summary.metrics["test/unanswered"] == 1
    assert "Unanswered: prompt too long (test 1 of 3)" in caplog.text


def test_above_the_share_an_evaluation_fails_before_it_starts(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", 3, "test", question="What is the sum? " * 20_000)
    limit = context_length(TINY)
    with pytest.raises(
        VicurError, match=rf"1 of 3 prompts are longer than {limit} tokens \(row-2 has 100,\d+\); 2\.0 % are allowed"
    ) as error:
        evaluate(EvaluationConfig(), {"dataset": folder, "model": TINY}, tmp_path / "out", None)  # type: ignore[arg-type]
    assert "evaluation.max_unanswered_share" in str(error.value)


def test_images_count_in_the_pixel_budget_of_the_evaluation(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", 2, "test")
    prompts = PromptConfig(pixels=PixelBudgets(evaluation=PixelBudget(min=100_000)))
    config = EvaluationConfig(prompts=prompts, max_prompt_tokens=300)
    with pytest.raises(VicurError, match=r"2 of 2 prompts are longer than 300 tokens"):
        evaluate(config, {"dataset": folder, "model": TINY}, tmp_path / "out", None)  # type: ignore[arg-type]


def test_validation_counts_a_question_with_too_long_a_prompt_as_incorrect(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", 3, "validation", **LONG)
    config, chat = TrainConfig(max_unhinted_share=0.4), Chat.load(TINY)
    validation = Validation.load(folder, chat, config, 0, context_length=500)
    assert [e.id for e in validation.examples] == ["row-0", "row-1"]
    assert len(validation.prompts) == 2
    assert validation.unanswered == 1
    with pytest.raises(VicurError, match=r"1 of 3 prompts are longer than 500 tokens \(row-2 has [\d,]+\); 2\.0 %"):
        Validation.load(folder, chat, TrainConfig(), 0, context_length=500)
