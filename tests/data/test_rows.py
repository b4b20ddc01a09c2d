"""A record becomes an example, or is skipped with the reason, whatever its values are."""

from __future__ import annotations

import base64
import io
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.formats.reading import BLUE, RED, rows, write
from vicur.config.data import FolderConfig
from vicur.data import Example
from vicur.data.formats import FORMATS, Record, SourceFolder
from vicur.data.row_columns import Layout
from vicur.data.rows import Row, read_row
from vicur.data.schema import SkippedRow

JPEG = io.BytesIO()
Image.effect_noise((30, 20), 60).convert("RGB").save(JPEG, "JPEG")
LONG = base64.b64encode(JPEG.getvalue()).decode()
URL = f"data:image/jpeg;base64,{LONG}"


def read(folder: Path, columns: dict[str, Any], address: str = "", **config: Any) -> Example | SkippedRow:
    layout = Layout.of(FORMATS["jsonl"], FolderConfig(path=folder, **config), seed=0)
    row = read_row(Record("sub/q.jsonl", 3, columns), SourceFolder(folder, address), layout)
    assert row is not None
    return row.example if isinstance(row, Row) else row


def row(**columns: Any) -> dict[str, Any]:
    return {"question": "What?", "answer": "12", **columns}


@pytest.mark.parametrize("name", ["question", "problem", "query", "prompt", "Question", "QUERY"])
@pytest.mark.parametrize("answer", ["answer", "solution", "label", "gt", "final_answer", "Answer"])
def test_public_names_of_columns_are_recognised(tmp_path: Path, name: str, answer: str) -> None:
    example = read(tmp_path, {name: "What?", answer: 12, "pid": 7})
    assert isinstance(example, Example)
    assert (example.id, example.question, example.answer) == ("7", "What?", "12")


@pytest.mark.parametrize("name", ["file", "Foto", "where the picture is"])
def test_the_only_column_with_an_image_file_is_the_image(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"a.png": RED, "b.png": BLUE})
    example = read(tmp_path, row(**{name: "a.png"}))
    assert isinstance(example, Example)
    assert example.images == (RED,)
    missing = read(tmp_path, row(**{name: "c.PNG"}))
    assert isinstance(missing, SkippedRow)
    assert missing.field == "images"
    # Which of two is meant, only the user knows.
    for columns in (row(**{name: "a.png", "mask": "b.png"}), row(**{name: "see a.png below"})):
        example = read(tmp_path, columns)
        assert isinstance(example, Example)
        assert not example.images
    example = read(tmp_path, row(**{name: "a.png"}), fields={"images": []})
    assert isinstance(example, Example)
    assert not example.images


@pytest.mark.parametrize("name", ["images", "image", "decoded_image", "img", "image_path", "file_name", "image_1"])
@pytest.mark.parametrize(
    "value", ["a.png", RED, {"bytes": RED, "path": "x"}, {"bytes": None, "path": "a.png"}, ["a.png"]], ids=repr
)
def test_images_of_each_form_and_name(tmp_path: Path, name: str, value: Any) -> None:
    write(tmp_path, {"a.png": RED})
    example = read(tmp_path, row(**{name: value}))
    assert isinstance(example, Example)
    assert example.images == (RED,)


@pytest.mark.parametrize(
    "value", [LONG, URL, LONG.rstrip("="), {"bytes": LONG}, base64.urlsafe_b64encode(JPEG.getvalue()).decode()]
)
def test_images_in_base64(tmp_path: Path, value: Any) -> None:
    example = read(tmp_path, row(image=value))
    assert isinstance(example, Example)
    assert example.images == (JPEG.getvalue(),)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("b.png", BLUE),  # beside the data file
        ("deep/c.png", RED),  # the only file with this ending
        ("./sub/b.png", BLUE),
        ("sub\\b.png", BLUE),
        ("s3://team/data/sub/b.png", BLUE),
    ],
)
def test_paths_are_looked_up_in_the_source(tmp_path: Path, name: str, found: bytes) -> None:
    write(tmp_path, {"sub/b.png": BLUE, "photos/deep/c.png": RED})
    example = read(tmp_path, row(image=name), address="s3://team/data")
    assert isinstance(example, Example)
    assert example.images == (found,)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("same.png", "'same.png' could be x/same.png or y/same.png"),
        ("https://example.com/a.png", "is a web address, which is not fetched"),
        ("s3://other/a.png", "is not below the source"),
        ("file:///etc/passwd", "is not below the source"),
        ("/etc/passwd", "is not a path inside the folder"),
        ("../secret.png", "is not a path inside the folder"),
        ("data:image/png,abc", "is a data URL without base64"),
        ("data:image/png;base64,%%%", "is not valid base64"),
        ([""], "is not a path"),
        ({"bytes": None, "path": None}, "is not a path"),
        ([None], "is not a path"),
        (7, "is not a path"),
        ("no.png", "the file 'no.png' does not exist"),
        ("x", "'x' is a folder, not a file"),
        ("pipe.png", "'pipe.png' is a named pipe, not a file"),
        ("socket.png", "'socket.png' is a socket, not a file"),
        ("loop.png", "'loop.png' is a loop of symbolic links"),
        ("zero.png", "leads out of the folder through a symbolic link"),
    ],
    ids=repr,
)
def test_unusable_images_are_skipped_and_never_waited_for(tmp_path: Path, value: Any, reason: str) -> None:
    folder = write(tmp_path / "source", {"x/same.png": RED, "y/same.png": RED})
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        # The path of a socket is limited to about 100 characters.
        here = Path.cwd()
        os.chdir(folder)
        try:
            bound.bind("socket.png")
        finally:
            os.chdir(here)
        skipped = read(folder, row(images=value))
    assert isinstance(skipped, SkippedRow)
    assert reason in skipped.reason
    assert skipped.field.startswith("images")


def test_pipes_and_loops_as_data_files_are_not_opened(tmp_path: Path) -> None:
    folder = write(tmp_path / "source", {"train.jsonl": [row()]})
    os.mkfifo(folder / "test.jsonl")
    (folder / "val.jsonl").symlink_to("val.jsonl")
    (folder / "again").symlink_to(folder)
    assert len(rows(folder)) == 1


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        (["7", "5"], ("7", "5")),
        ([7, 5.0, 2.5], ("7", "5", "2.5")),
        ({"A": "7", "B": 5, "C": None}, ("7", "5")),
        ({"b": "5", "a": "7"}, ("7", "5")),
        ({"label": ["A", "B"], "text": ["7", "5"]}, ("7", "5")),
        ([{"label": "A", "text": "7"}, {"label": "B", "text": "5"}], ("7", "5")),
        ('["7", "5"]', ("7", "5")),
        ("['7', '5']", ("7", "5")),
        ('{"A": "7", "B": "5"}', ("7", "5")),
        ("A. 7\nB. 5", ("7", "5")),
        ("(A) 7\n(B) 5", ("7", "5")),
        ("7 | 5", ("7", "5")),
    ],
    ids=repr,
)
def test_choices_of_each_form(tmp_path: Path, choices: Any, texts: tuple[str, ...]) -> None:
    example = read(tmp_path, row(options=choices, answer="A"))
    assert isinstance(example, Example)
    assert example.choices == texts


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (7, "is not a list"),
        ("7", "is not a list"),
        ({"A": "7", "C": "5"}, "not A, B, C"),
        ([str(n) for n in range(27)], "has 27 choices, but there are only 26 letters"),
        ("[" * 90_000, "is not a list"),
        ([["7"]], "is not text"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_other_choices_are_skipped(tmp_path: Path, choices: Any, reason: str) -> None:
    skipped = read(tmp_path, row(choices=choices, answer="A"))
    assert isinstance(skipped, SkippedRow)
    assert reason in skipped.reason


@pytest.mark.parametrize(
    ("answer", "choices", "text"),
    [
        (12, [], "12"),
        (12.0, [], "12"),
        (2.5, [], "2.5"),
        (["12"], [], "12"),
        (5, ["7", "5"], "5"),
        ("B", ["red", "blue"], "B"),
        ("blue", ["red", "blue"], "blue"),
    ],
)
def test_answers_become_text(tmp_path: Path, answer: Any, choices: list[str], text: str) -> None:
    example = read(tmp_path, row(answer=answer, choices=choices or None))
    assert isinstance(example, Example)
    assert example.answer == text


@pytest.mark.parametrize(
    ("answer", "index", "text"),
    [
        (1, 0, "blue"),
        ("1", 0, "blue"),
        (1, 1, "red"),
        (2.0, 1, "blue"),
        ([2], 1, "blue"),
        ("B", 1, "B"),
        (0, 1, None),
        (2, 0, None),
        (1, "none", None),
        (1, "auto", None),
    ],
)
def test_numbers_count_the_choices_if_they_do_so_in_the_source(
    tmp_path: Path, answer: Any, index: Any, text: str | None
) -> None:
    example = read(tmp_path, row(answer=answer, choices=["red", "blue"]), answer_index=index)
    assert (example.answer if isinstance(example, Example) else None) == text


@pytest.mark.parametrize(
    "answer",
    [True, None, "", {}, ["a", "b"], float("nan"), 2, "C", 10**5000],
    ids=lambda a: repr(a)[:9] if a != 10**5000 else "huge",
)
def test_other_answers_are_skipped(tmp_path: Path, answer: Any) -> None:
    skipped = read(tmp_path, row(answer=answer, choices=["red", "blue"]))
    assert isinstance(skipped, SkippedRow)
    assert skipped.field == "answer"


def test_fields_name_columns_paths_patterns_and_alternatives(tmp_path: Path) -> None:
    columns = {
        "q": {"text": "What?"},
        "extra": '{"gt": [{"value": 12}]}',
        "pic_2": BLUE,
        "pic_1": RED,
        "pic_3": None,
        "question": "another",
    }
    fields = {"question": ["text", "q.text"], "answer": "extra.gt.0.value", "images": "pic_*", "id": []}
    example = read(tmp_path, columns, fields=fields)
    assert isinstance(example, Example)
    assert (example.question, example.answer, example.images) == ("What?", "12", (RED, BLUE))
    assert example.id == "sub/q.jsonl:3"
    skipped = read(tmp_path, {"question": "What?", "answer": 1}, fields={"question": "q"})
    assert isinstance(skipped, SkippedRow)
    assert skipped.reason == "the column 'q' is missing"
    assert "the row has question, answer" in skipped.remedy


def test_other_columns_are_kept_as_metadata_if_they_are_small(tmp_path: Path) -> None:
    example = read(tmp_path, row(grade=3, raw=b"bytes", long="x" * 1000, kind="count", group="g"))
    assert isinstance(example, Example)
    assert example.metadata == {"kind": "count", "group": "g", "columns": {"grade": 3}}


@pytest.mark.parametrize(
    ("label", "split"),
    [("train", "distill"), ("Training", "distill"), ("val", "validation"), ("dev", "validation"), ("validation", "validation"),
     ("test", "test"), ("testmini", "test"), ("ood", "ood")],
)  # fmt: skip
def test_known_names_of_splits_are_mapped(tmp_path: Path, label: str, split: str) -> None:
    example = read(tmp_path, row(split=label))
    assert isinstance(example, Example)
    assert example.split == split


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["A", "B", "bytes", "path", "text"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["id", "question", "answer", "image", "images", "choices", "options", "metadata", "split", "group", "x"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.dictionaries(NAMES, VALUES))
def test_no_value_raises_an_error(tmp_path: Path, columns: dict[str, Any]) -> None:
    result = read(tmp_path, columns)
    if isinstance(result, SkippedRow):
        assert result.reason
        assert result.remedy
    else:
        assert result.question.strip()
