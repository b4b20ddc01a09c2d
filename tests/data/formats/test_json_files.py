"""JSON in the forms that people publish: lines, arrays, one list in an object, and objects by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.formats.reading import RED, examples, reading, rows, splits, write
from vicur.data.formats import json_files, lines
from vicur.data.schema import SkippedRow
from vicur.errors import VicurError

QUESTIONS = [{"question": f"How many {n}?", "answer": n} for n in range(5)]


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("train.jsonl", "".join(json.dumps(row) + "\n" for row in QUESTIONS), "jsonl"),
        ("train.json", "".join(json.dumps(row) + "\n" for row in QUESTIONS), "jsonl"),
        ("train.ndjson", "\r\n\r\n".join(json.dumps(row) for row in QUESTIONS), "jsonl"),
        ("train.jsonl", "\ufeff" + "\n".join(json.dumps(row) for row in QUESTIONS), "jsonl"),
        ("train.json", json.dumps(QUESTIONS), "json"),
        ("train.json", json.dumps(QUESTIONS, indent=2), "json"),
        ("train.jsonl", "\ufeff\n " + json.dumps(QUESTIONS), "json"),
        ("train.json", json.dumps({"version": "1.0", "info": {"by": "us"}, "tags": ["a"], "data": QUESTIONS}), "json"),
        ("train.json", json.dumps({"data": QUESTIONS}, indent=1), "json"),
        ("train.json", json.dumps({str(n): row for n, row in enumerate(QUESTIONS)}), "json"),
        ("train.json", json.dumps({str(n): row for n, row in enumerate(QUESTIONS)}, indent=4), "json"),
    ],
)
def test_each_form_gives_the_same_rows(tmp_path: Path, name: str, content: str, format_: str) -> None:
    write(tmp_path, {name: content})
    assert reading(tmp_path).format_name == format_
    read = examples(tmp_path)
    assert [(each.question, each.answer) for each in read] == [(f"How many {n}?", str(n)) for n in range(5)]
    assert splits(tmp_path) == ["distill"] * 5


def test_the_key_of_an_object_of_objects_is_the_id(tmp_path: Path) -> None:
    write(tmp_path, {"problems.json": {"7": QUESTIONS[0], 'a "b"': QUESTIONS[1]}})
    assert [each.id for each in examples(tmp_path)] == ["7", 'a "b"']


def test_rows_without_an_id_get_one_from_file_and_row(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a/train.jsonl": QUESTIONS[:2], "test.json": QUESTIONS[:2], "val.jsonl": "\n" + json.dumps(QUESTIONS[0])},
    )
    assert [each.id for each in examples(tmp_path)] == [
        "a/train.jsonl:1",
        "a/train.jsonl:2",
        "test.json:1",
        "test.json:2",
        "val.jsonl:2",
    ]
    assert splits(tmp_path) == ["distill", "distill", "test", "test", "validation"]


def test_other_json_files_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"train.jsonl": QUESTIONS, "classes.json": ["cat", "dog"], "info.json": {"a": 1}, "boxes.json": [{"x": 1}]},
    )
    assert len(examples(tmp_path)) == 5


def test_an_object_with_several_lists_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"vqa.json": {"questions": QUESTIONS, "annotations": [{"answer": 1}]}})
    with pytest.raises(VicurError, match="has several lists of rows: questions, annotations"):
        reading(tmp_path, format="json").units()


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ('{"question": "a", "question": "b"}', "the key 'question' occurs twice"),
        ('{"question": NaN, "answer": 1}', "NaN is not a JSON value"),
        ('"text"', "is a text, not a JSON object"),
        ('{"question": "a" "answer": 1}', "is not JSON"),
        ('{"question": "\\x", "answer": 1}', "is not JSON"),
        ('{"question": ' + "[" * 3000 + "]" * 3000 + "}", "is nested too deeply"),
        ('{"question": "a", "answer": ' + "9" * 5000 + "}", "is not JSON"),
    ],
)
def test_an_invalid_element_of_an_array_is_one_skipped_row(tmp_path: Path, element: str, reason: str) -> None:
    good = json.dumps(QUESTIONS[1])
    write(tmp_path, {"train.json": f"[{good},\n {element},\n {good}]"})
    before, skipped, after = rows(tmp_path, format="json")
    assert isinstance(skipped, SkippedRow)
    assert (skipped.file, skipped.row) == ("train.json", 2)
    assert reason in skipped.reason
    assert not isinstance(before, SkippedRow)
    assert not isinstance(after, SkippedRow)


@pytest.mark.parametrize("cut", [1, 10, 40, 100])
def test_a_document_that_was_cut_off_is_an_error_with_its_line(tmp_path: Path, cut: int) -> None:
    text = json.dumps(QUESTIONS, indent=1)
    write(tmp_path, {"train.json": text[:-cut]})
    with pytest.raises(VicurError, match=r"train\.json: ends before its last bracket is closed \(line \d+\)"):
        rows(tmp_path, format="json")


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(alphabet='ab"\\[]{},:\n ü', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a"]\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.dictionaries(st.text(alphabet='k"[]', max_size=3), VALUES, max_size=3), min_size=1, max_size=6),
    st.booleans(),
)
def test_every_element_is_found_at_its_place(tmp_path: Path, values: list[dict[str, Any]], indented: bool) -> None:
    folder = write(tmp_path, {"a.json": json.dumps(values, indent=2 if indented else None)})
    format_ = json_files.JsonFormat()
    source = reading(folder, format="json")
    [unit] = format_.file_units(source.folder, "a.json", None)
    assert [record.columns for record in format_.records(source.folder, unit, source.config)] == values


def test_units_divide_lines_and_documents_without_losing_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lines, json_files):
        monkeypatch.setattr(module, "UNIT_ROWS", 3)
    many = [{"question": f"Q{n}?", "answer": n} for n in range(11)]
    for name, content in {
        "a.json": many,
        "b.json": {f"k{n}": row for n, row in enumerate(many)},
        "c.jsonl": many,
    }.items():
        folder = write(tmp_path / name[0], {name: content})
        units = reading(folder).units()
        assert [unit.rows for unit in units] == [3, 3, 3, 2]
        assert [each.question for each in examples(folder)] == [f"Q{n}?" for n in range(11)]


def test_a_very_long_line_is_one_skipped_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 20)
    row = json.dumps(QUESTIONS[1])
    write(tmp_path, {"train.jsonl": f"{row}\n" + "x" * (3 << 20) + f"\n{row}\n"})
    first, long, last = rows(tmp_path)
    assert isinstance(long, SkippedRow)
    assert (long.row, long.reason) == (2, "is longer than 1 MiB")
    assert (first.row, last.row) == (1, 3)


def test_another_encoding_is_named_with_the_line(tmp_path: Path) -> None:
    lines = [json.dumps(QUESTIONS[1]), '{"question": "Wie groß?", "answer": 1}']
    write(tmp_path, {"train.jsonl": "\n".join(lines).encode("latin-1")})
    _, skipped = rows(tmp_path)
    assert isinstance(skipped, SkippedRow)
    assert skipped.row == 2
    assert "byte 0xdf in column 22; the file may be in Latin-1" in skipped.reason


@pytest.mark.parametrize("name", ["train.jsonl", "train.json", "train.csv"])
def test_utf_16_is_an_error_that_names_the_encoding(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: "question,answer\nWhat?,1\n".encode("utf-16"), "a.png": RED})
    with pytest.raises(VicurError, match="byte order mark of UTF-16, but the text must be UTF-8"):
        rows(tmp_path, format=name.partition(".")[2])


def test_a_list_in_the_first_of_several_lines_is_one_bad_row(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"rows.jsonl": [[], *({"question": f"{n}?", "answer": n, "image": "a.png"} for n in range(3))], "a.png": RED},
    )
    found = rows(tmp_path, format="jsonl")
    assert [isinstance(row, SkippedRow) for row in found] == [True, False, False, False]


def test_rows_after_the_end_of_a_document_are_an_error(tmp_path: Path) -> None:
    row = [{"question": "How many?", "answer": 1}]
    write(tmp_path, {"rows.json": f"{json.dumps(row)}\n{json.dumps(row)}"})
    with pytest.raises(VicurError, match=r"continues after its last bracket is closed \(line 2\)"):
        rows(tmp_path)
