"""CSV as spreadsheets, pandas and people write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.formats.reading import BLUE, RED, examples, reading, rows, splits, write
from vicur.data.formats import csv_files
from vicur.data.schema import SkippedRow
from vicur.errors import VicurError


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separators_line_ends_and_a_byte_order_mark(tmp_path: Path, separator: str, end: str, mark: str) -> None:
    table = [("File", "Question", "Answer"), ("a.png", "Which colour?", "red"), ("photos/b.png", "And this?", "blue")]
    text = mark + "".join(separator.join(row) + end for row in table)
    write(tmp_path, {"my questions.csv": text, "photos/a.png": RED, "photos/b.png": BLUE})
    first, second = examples(tmp_path, fields={"images": "File"})
    assert (first.question, first.answer, first.images) == ("Which colour?", "red", (RED,))
    assert second.images == (BLUE,)
    assert first.id == "my questions.csv:2"


def test_quotes_may_contain_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    write(tmp_path, {"q.csv": 'question,answer,note\n"How ""many"", in\nall?",12,x\nNext?,13,\n'})
    first, second = examples(tmp_path)
    assert (first.question, first.answer, first.id) == ('How "many", in\nall?', "12", "q.csv:2")
    # The number of a row is the line at which it begins.
    assert second.id == "q.csv:4"
    assert first.metadata == {"columns": {"note": "x"}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"one value", "has 1 values, but there are 2 columns"),
        (b"What, exactly?,12", "has 3 values, but there are 2 columns"),
        (b'"What?"x,12', "is not valid CSV"),
        ("Wie groß?,12".encode("latin-1"), "is not UTF-8; it may be in Latin-1"),
    ],
)
def test_an_invalid_row_is_skipped_with_its_line(tmp_path: Path, line: bytes, reason: str) -> None:
    write(tmp_path, {"q.csv": b"question,answer\nFirst?,1\n\n" + line + b"\nLast?,2\n"})
    first, skipped, last = rows(tmp_path)
    assert isinstance(skipped, SkippedRow)
    assert (skipped.row, last.row) == (4, 5)
    assert reason in skipped.reason
    assert not isinstance(first, SkippedRow)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('question,answer\nA?,1\n"B?,2\nC?,3\n', "line 3: a quote is not closed"),
        ("question,answer,answer\nA?,1,2\n", "several columns with the name answer"),
        ("Größe,question,answer\n1,A?,1\n".encode("latin-1"), "line 1 is not UTF-8; it may be in Latin-1"),
        ("question,answer\nA?,1\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | bytes, problem: str) -> None:
    write(tmp_path, {"q.csv": text})
    with pytest.raises(VicurError, match=problem):
        rows(tmp_path)


def test_tsv_is_separated_by_tabs_only(tmp_path: Path) -> None:
    write(tmp_path, {"test.tsv": "question\tanswer\nOne, two; or three?\ttwo\n"})
    assert reading(tmp_path).format_name == "tsv"
    [example] = examples(tmp_path)
    assert example.question == "One, two; or three?"
    assert splits(tmp_path) == ["test"]


def test_units_begin_at_rows_and_not_inside_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "UNIT_ROWS", 2)
    text = "question,answer\n" + "".join(f'"Q\n{n}?",{n}\n\n' for n in range(5))
    write(tmp_path, {"q.csv": text})
    assert len(reading(tmp_path).units()) == 3
    assert [each.answer for each in examples(tmp_path)] == list("01234")


def test_choices_in_columns_and_as_text(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "mmbench.tsv": "index\tquestion\tA\tB\tC\tD\tanswer\n7\tWhich?\tred\tblue\tgreen\t\tB\n",
            "b/q.csv": "question;options;answer\nWhich?;['red', 'blue'];1\nWhich?;\"red|blue\";red\n",
        },
    )
    [first] = examples(tmp_path, format="tsv")
    assert (first.id, first.choices, first.answer) == ("7", ("red", "blue", "green"), "B")
    second, third = examples(tmp_path, format="csv", answer_index=0)
    assert (second.choices, second.answer) == (("red", "blue"), "blue")
    assert (third.choices, third.answer) == (("red", "blue"), "red")


def test_the_index_of_pandas_has_no_name(tmp_path: Path) -> None:
    write(tmp_path, {"q.csv": ",question,answer\n0,A?,1\n1,B?,2\n"})
    assert [each.question for each in examples(tmp_path)] == ["A?", "B?"]
