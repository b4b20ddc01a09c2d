"""Questions, answers and images in the forms that public datasets write them, and what only looks like one of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import make_context
from tests.data.formats.reading import BLUE, RED, write
from tests.data.layouts import figures
from tests.data.layouts.items import items
from tests.data.test_rows import read
from vicur.config.data import FolderConfig
from vicur.data import Example, prepare, stage_inputs
from vicur.data.formats import SourceFolder
from vicur.data.inspection import inspect
from vicur.data.schema import SkippedRow


def example(folder: Path, columns: dict[str, Any], **config: Any) -> Example:
    found = read(folder, columns, **config)
    assert isinstance(found, Example), found
    return found


@pytest.mark.parametrize(
    ("columns", "question"),
    [
        ({"instruction": "Add.", "input": "1 and 2"}, "Add.\n1 and 2"),
        ({"instruction": "Add.", "inputs": " "}, "Add."),
        ({"question": "Add.", "input": "1 and 2"}, "Add."),
        ({"question": "What is x?", "context": "x is 3."}, "x is 3.\nWhat is x?"),
        ({"question": "x is 3. What is x?", "Context": "x is 3."}, "x is 3. What is x?"),
        ({"question": "What?", "context": {"k": 1}}, "What?"),
        ({"question": ["What?"]}, "What?"),
        ({"text": "Is it red?"}, "Is it red?"),
        ({"text": "这是什么？"}, "这是什么？"),
        ({"question": "What?", "text": "Is it red?"}, "What?"),
        ({"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}]}, "What?"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": "What?"}]}]}, "What?"),
    ],
)
def test_questions_of_each_form(tmp_path: Path, columns: dict[str, Any], question: str) -> None:
    assert example(tmp_path, {"answer": "3", **columns}).question == question


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": "A red car."}, "is missing"),
        ({"question": ["a", "b"]}, "is not text"),
        (
            {"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "is a conversation with 1 messages of the user",
        ),
        ({"prompt": [{"role": "system", "content": "a"}]}, "is a conversation with 0 messages of the user"),
    ],
)
def test_other_questions_are_skipped(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    found = read(tmp_path, {"answer": "3", **columns})
    assert isinstance(found, SkippedRow)
    assert (found.field, found.reason) == ("question", reason)


@pytest.mark.parametrize(
    ("columns", "answer", "rationale"),
    [
        ({"solution": "<think>2 and 1.</think><answer>3</answer>"}, "3", "2 and 1."),
        ({"response": "2 and 1 are 3.\n\nFinal answer: 3"}, "3", "2 and 1 are 3."),
        ({"chosen": "3", "rejected": "4"}, "3", None),
        ({"chosen": {"from": "gpt", "value": "3"}}, "3", None),
        ({"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "3"}]}, "3", None),
        ({"completion": [{"role": "assistant", "content": [{"type": "text", "text": "3"}]}]}, "3", None),
        ({"answer": "2 and 1.\n#### 3"}, "3", "2 and 1."),
        ({"answer": "#### 3"}, "#### 3", None),
        ({"answer": "3", "solution": ["2 and 1.", "So 3."]}, "3", "2 and 1.\n\nSo 3."),
        ({"answer": "3", "response": "<think>4</think>4"}, "3", None),
        ({"solution": "<think>2 and 1.</think>3", "rationale": "Add."}, "3", "Add."),
    ],
)
def test_responses_are_taken_apart(tmp_path: Path, columns: dict[str, Any], answer: str, rationale: str | None) -> None:
    found = example(tmp_path, {"question": "What?", **columns})
    assert (found.answer, found.rationale) == (answer, rationale)


def test_a_response_whose_reasoning_never_ends_is_skipped(tmp_path: Path) -> None:
    found = read(tmp_path, {"question": "What?", "solution": "<think>2 and 1 are"})
    assert isinstance(found, SkippedRow)
    assert (found.field, found.reason) == ("answer", "the solution has no final answer")


@pytest.mark.parametrize(
    ("question", "answer", "read_as"),
    [
        ("Is the red bar the highest?", 1, "yes"),
        ("Is the red bar the highest?", "0", "no"),
        ("<image>\nIs it red?", False, "no"),
        ("According to the chart, are there more cats than dogs?", 1, "yes"),
        ("Look at the chart. Does the line fall? (yes/no)", True, "yes"),
        # No question for yes or no, or no such answer.
        ("How many are there?", 1, "1"),
        ("Is it 0 or 1?", 1, "1"),
        ("Is it red? If so, how often?", 1, "1"),
        ("Is it red?", 2, "2"),
        ("Is it red?", "no", "no"),
    ],
)
def test_truth_values_answer_questions_for_yes_or_no(tmp_path: Path, question: str, answer: Any, read_as: str) -> None:
    write(tmp_path, {"a.png": RED})
    assert example(tmp_path, {"question": question, "answer": answer, "image": "a.png"}).answer == read_as


@pytest.mark.parametrize(
    "columns",
    [
        {"image_list": ["a.png"], "image_type": "photo", "image_relation": "none"},
        {"image_id": 7, "image_1": "a.png"},
        {"image_name": "a.png", "image_source_url": "https://example.org/a.png"},
        {"picture_here": {"bytes": RED, "path": None}},
        {"image_id": 12},
        {"imageId": "12"},
        {"image": "/photos/12.png"},
    ],
)
def test_images_are_found_by_the_form_of_their_values(tmp_path: Path, columns: dict[str, Any]) -> None:
    write(tmp_path, {"a.png": RED, "photos/12.png": RED, "b.png": BLUE})
    assert example(tmp_path, {"question": "What?", "answer": "3", **columns}).images == (RED,)


def test_a_name_that_several_folders_have_means_the_one_below_the_data_file(tmp_path: Path) -> None:
    write(tmp_path, {"sub/png/5.png": RED, "other/png/5.png": BLUE, "other/6.png": RED, "more/6.png": BLUE})
    row = {"question": "What?", "answer": "3"}
    assert example(tmp_path, {**row, "image_index": 5}).images == (RED,)  # the row's file is sub/q.jsonl
    found = read(tmp_path, {**row, "image_index": 6})
    assert isinstance(found, SkippedRow)
    assert "could be" in found.reason


def test_the_configured_question_is_that_of_rows_without_one(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": RED})
    row = {"image": "a.png", "label": "cat"}
    assert example(tmp_path, row, question="Which animal is it?").question == "Which animal is it?"
    assert example(tmp_path, {**row, "question": "What?"}, question="Which animal is it?").question == "What?"


def test_inspect_numbers_rows_whose_ids_are_repeated(tmp_path: Path) -> None:
    # FigureQA's question_id is that of a template.
    expected = figures.figureqa(tmp_path / "figureqa", items(3, ("distill", "validation")))
    found = inspect(SourceFolder(tmp_path / "figureqa"), FolderConfig(path=tmp_path / "figureqa"))
    section = {**found.config, "type": "folder", "path": tmp_path / "figureqa", "required_splits": []}
    config = FolderConfig.model_validate(section)
    (tmp_path / "data").mkdir()
    summary = prepare(config, stage_inputs(config), tmp_path / "data", make_context(tmp_path / "work"))
    assert (sum(summary.examples.values()), summary.skipped) == (len(expected), 0)


def test_a_damaged_first_row_does_not_hide_its_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train.json": b'[{"a": 1}, {"question": "What?", "answer": "3"}]',
            "val.json": b'{"rows": [7, {"question": "What?", "answer": "3"}]}',
            "test.json": b'[1]\n{"question": "What?", "answer": "3"}\n',
        },
    )
    found = inspect(SourceFolder(tmp_path), FolderConfig(path=tmp_path))
    assert (found.read, found.usable) == (6, 3)
