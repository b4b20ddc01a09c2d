"""Answers that are numbers: whether they count choices, and from where, is decided by all rows together."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import make_context
from tests.data.formats.reading import RED, write
from vicur.config.data import FolderConfig
from vicur.data import prepare, read_examples
from vicur.data.formats import SourceFolder
from vicur.data.inspection import Inspection, inspect
from vicur.data.prepare import PrepareSummary
from vicur.errors import VicurError

ANIMALS = ["cat", "dog", "cow", "hen"]


def _source(folder: Path, answers: list[Any], choices: list[str] | None = None, name: str = "rows.jsonl") -> Path:
    rows = [
        {"id": n, "question": f"Which is {n}?", "choices": choices or ANIMALS, "answer": answer, "image": "a.png"}
        for n, answer in enumerate(answers)
    ]
    return write(folder / "source", {name: rows, "a.png": RED})


def _prepared(tmp_path: Path, source: Path, **settings: Any) -> tuple[PrepareSummary, list[str]]:
    config = FolderConfig(path=source, splits={"distill": 1.0}, required_splits=(), duplicates="off", **settings)
    (tmp_path / "data").mkdir()
    summary = prepare(config, config.inputs(), tmp_path / "data", make_context(tmp_path / "work"))
    examples = sorted(read_examples(tmp_path / "data", "distill"), key=lambda example: int(example.id))
    return summary, [example.answer for example in examples]


def _inspected(source: Path) -> Inspection:
    return inspect(SourceFolder(source), FolderConfig(path=source))


@pytest.mark.parametrize(("first", "answers"), [(0, [3, 0, 1, 2, 1]), (1, [4, 1, 2, 3, 2])])
def test_all_rows_decide_from_where_answers_count(tmp_path: Path, first: int, answers: list[int]) -> None:
    source = _source(tmp_path, answers)
    summary, found = _prepared(tmp_path, source)
    assert found == [ANIMALS[answer - first] for answer in answers]
    assert summary.answer_index == first
    assert f"answers count choices from {first}" in summary.key_figure
    seen = _inspected(source)
    assert seen.rows[0].answer == "hen"
    assert any(f"count choices from {first}" in text for text in seen.unsure)


def test_a_zero_after_thousands_of_rows_decides(tmp_path: Path) -> None:
    draw = random.Random(0)  # noqa: S311
    answers = [draw.randint(1, 3) for _ in range(2500)] + [0]
    _, found = _prepared(tmp_path, _source(tmp_path, answers))
    assert found == [ANIMALS[answer] for answer in answers]


def test_the_first_number_that_is_none_of_the_choices_is_an_unusable_row(tmp_path: Path) -> None:
    summary, found = _prepared(tmp_path, _source(tmp_path, [*[0] * 11, 1, 2, 4]), max_skipped_share=0.5)
    assert found == [*["cat"] * 11, "dog", "cow"]
    [rejection] = summary.rejections.values()
    assert "'4' is not one of the choices (4, counted from 0)" in rejection.example


def test_answers_that_do_not_say_from_where_they_count_are_refused(tmp_path: Path) -> None:
    source = _source(tmp_path, [1, 2, 3, 2])
    with pytest.raises(
        VicurError,
        match=r"4 answers are the number of a choice \(1 to 3\), but it is not clear",
    ) as error:
        _prepared(tmp_path, source)
    assert "data.answer_index" in error.value.remedy
    assert any("data.answer_index" in text for text in _inspected(source).unsure)


def test_a_zero_beside_the_number_of_choices_is_refused(tmp_path: Path) -> None:
    source = _source(tmp_path, [1, 2, 4, 3, 0])
    with pytest.raises(VicurError, match="both occur"):
        _prepared(tmp_path, source)


def test_numbers_of_the_first_rows_are_texts_if_most_rows_have_texts(tmp_path: Path) -> None:
    numbers = _source(tmp_path, [1, 2, 3] * 100)
    texts = [{"id": n, "question": f"Which {n}?", "choices": ANIMALS, "answer": "cat"} for n in range(300, 900)]
    write(numbers, {"texts.jsonl": texts})
    config = FolderConfig(path=numbers, splits={"distill": 1.0}, required_splits=(), max_skipped_share=0.5)
    (tmp_path / "data").mkdir()
    summary = prepare(config, config.inputs(), tmp_path / "data", make_context(tmp_path / "work"))
    assert summary.answer_index is None
    assert summary.examples["distill"] == 600


@pytest.mark.parametrize(("index", "answers"), [(0, ["dog", "cow", "hen"]), (1, ["cat", "dog", "cow"])])
def test_the_setting_says_from_where_answers_count(tmp_path: Path, index: int, answers: list[str]) -> None:
    summary, found = _prepared(tmp_path, _source(tmp_path, [1, 2, 3]), answer_index=index)
    assert (found, summary.answer_index) == (answers, index)


def test_numbers_that_are_choices_are_texts(tmp_path: Path) -> None:
    answers = [3, 1, "2", 3]
    summary, found = _prepared(tmp_path, _source(tmp_path, answers, ["1", "2", "3"]))
    assert found == ["3", "1", "2", "3"]
    assert summary.answer_index is None


def test_one_number_among_letters_is_an_unusable_row(tmp_path: Path) -> None:
    summary, found = _prepared(tmp_path, _source(tmp_path, ["A", "B", "C", 1, "D"]), max_skipped_share=0.5)
    assert found == ["A", "B", "C", "D"]
    assert (summary.skipped, summary.answer_index) == (1, None)


def test_places_count_where_choices_are_numbers_too(tmp_path: Path) -> None:
    # As in ScienceQA: most choices are words, but some are numbers.
    rows = [{"question": f"{n}?", "choices": ANIMALS, "answer": n % 4} for n in range(8)]
    rows.append({"question": "How many?", "choices": ["2", "1", "0"], "answer": 2})
    source = write(tmp_path / "source", {"rows.jsonl": [{"id": n, **row} for n, row in enumerate(rows)]})
    _, found = _prepared(tmp_path, source)
    assert found[-1] == "0"


def test_answers_of_csv_files_count_as_numbers_do(tmp_path: Path) -> None:
    text = "id,question,A,B,C,answer\n" + "".join(f"{n},Which {n}?,cat,dog,cow,{n % 3 + 1}\n" for n in range(6))
    _, found = _prepared(tmp_path, write(tmp_path / "source", {"rows.csv": text}))
    assert found == ["cat", "dog", "cow"] * 2
