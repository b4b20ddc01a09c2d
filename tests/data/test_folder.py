import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.data.conftest import png, row
from vicur.config.data import FolderConfig
from vicur.data import Example
from vicur.data.formats import SourceFolder
from vicur.data.paths import locate
from vicur.data.reading import Reading
from vicur.data.rows import Row
from vicur.data.schema import SkippedRow
from vicur.errors import VicurError

Source = Callable[..., Path]


def _read(folder: Path) -> list[Example | SkippedRow]:
    reading = Reading.of(SourceFolder(folder), FolderConfig(path=folder))
    rows = [row for unit in reading.units() for row in reading.rows(unit)]
    return [row.example if isinstance(row, Row) else row for row in rows if row is not None]


def test_a_row_with_all_fields_becomes_an_example(source: Source) -> None:
    folder = source(
        row(
            "one",
            images=["a.png", "sub/b.png"],
            choices=["red", "blue"],
            answer="B",
            rationale="Since it is.",
            cue="It is blue.",
            source="mine",
            metadata={"group": "g", "kind": "colour", "n": [1, 2.5, None]},
        )
    )
    (folder / "sub").mkdir()
    (folder / "sub" / "b.png").write_bytes(png(9, 9))
    [example] = _read(folder)
    assert isinstance(example, Example)
    assert example.images == (png(), png(9, 9))  # the very bytes of the files
    assert (example.choices, example.answer, example.source) == (("red", "blue"), "B", "mine")
    assert (example.group, example.kind, example.metadata["n"]) == ("g", "colour", [1, 2.5, None])


def test_optional_fields_may_be_absent_or_null(source: Source) -> None:
    left_out, null = _read(source(row("a"), row("b", cue=None, choices=None, metadata=None)))
    assert isinstance(left_out, Example)
    assert left_out.model_copy(update={"id": "b"}) == null
    assert (left_out.source, left_out.kind) == ("folder", "all")
    # Both show the same image.
    assert left_out.group == null.group


def test_blank_lines_a_byte_order_mark_and_dos_line_ends_are_accepted(source: Source) -> None:
    folder = source()
    lines = [b"\xef\xbb\xbf" + json.dumps(row("a")).encode(), b"", json.dumps(row("b")).encode()]
    (folder / "examples.jsonl").write_bytes(b"\r\n".join(lines))
    assert [example.id for example in _read(folder)] == ["a", "b"]


@pytest.mark.parametrize(
    ("bad", "field", "reason", "remedy"),
    [
        (row("x", question=...), "question", "is missing", "Add the field to the row."),
        (row("x", answer=True), "answer", "is true or false", "Write the word"),
        (row("x", answer=["1", "2"]), "answer", "is a list of 2 answers", "Name the column"),
        (row("x", question="  "), "question", "is blank", "Fill the field in."),
        (row("", images=[]), "id", "is blank", "Fill the field in."),
        (
            row("x", split="trian"),
            "split",
            "'trian' is not a split",
            "Use one of base, distill, validation, test, ood, or map the name",
        ),
        (row("x", awnser="12"), "awnser", "is not a known field", "or move it into metadata"),
        (row("x", choices=["a", {}]), "choices[1]", "is not text", "Write it as text"),
        (row("x", choices=["a", "b"], answer="C"), "answer", "'C' is not one of the choices", "or its letter"),
        (row("x", answer="\\boxed{}"), "answer", "no response can be judged correct", "Write one final answer"),
        (row("x", metadata=[1]), "metadata", "is not a JSON object", "Correct the field."),
        (row("x", metadata={"a": "\ud800"}), "metadata", "contains a value that JSON cannot represent", "Correct"),
        (row("x", images={"a": 1}), "images", "is not a path", "relative to the folder"),
        (row("x", images=[7]), "images[0]", "is not a path", "relative to the folder"),
        (row("x", images=["a.png", "no.png"]), "images[1]", "the file 'no.png' does not exist", "correct its path"),
        (row("x", images=["/etc/passwd"]), "images[0]", "is not a path inside the folder", "relative to the folder"),
        (row("x", images=["../a.png"]), "images[0]", "is not a path inside the folder", "relative to the folder"),
        (row("x", images=["."]), "images[0]", "is not a path inside the folder", "relative to the folder"),
        (row("x", images=["examples.jsonl"]), "images[0]", "'examples.jsonl' is not an image", "intact PNG or JPEG"),
        (b"{", "", "is not JSON", "Write one JSON object in UTF-8."),
        (b"[1]", "", "is a list, not a JSON object", "Write one JSON object."),
        (b'{"id": "\xff"}', "", "is not JSON in UTF-8 (byte 0xff in column 9", "UTF-8"),
        (b'{"id": "a", "answer": "1", "answer": "2"}', "", "is not JSON (the key 'answer' occurs twice)", "UTF-8"),
        (
            b'{"id": "a", "images": [], "question": "q \\ud800", "answer": "1", "split": "test"}',
            "question",
            "contains half a character",
            "",
        ),
        (b'{"id": NaN}', "", "is not JSON (NaN is not a JSON value)", "UTF-8"),
        (b"[" * 100_000, "", "is nested too deeply", "UTF-8"),
    ],
)
def test_each_invalid_row_is_reported_with_field_reason_and_remedy(
    source: Source, bad: dict[str, Any] | bytes, field: str, reason: str, remedy: str
) -> None:
    good, skipped, after = _read(source(row("good"), bad, row("after")))
    assert isinstance(skipped, SkippedRow)
    assert (skipped.file, skipped.row, skipped.field) == ("examples.jsonl", 2, field)
    assert reason in skipped.reason
    assert remedy in skipped.remedy
    assert (good.id, after.id) == ("good", "after")


def test_a_damaged_image_is_reported(source: Source) -> None:
    folder = source(row("x", images=["cut.png"]))
    (folder / "cut.png").write_bytes(png(50, 50)[:-30])
    [skipped] = _read(folder)
    assert str(skipped).startswith("examples.jsonl:row 1:images[0]: 'cut.png' is a damaged image")


def test_a_symbolic_link_out_of_the_folder_is_rejected(source: Source, tmp_path: Path) -> None:
    folder = source(row("file", images=["link.png"]), row("folder", images=["out/x.png"]), row("in", images=["b.png"]))
    (tmp_path / "x.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "x.png")
    (folder / "out").symlink_to(tmp_path)
    (folder / "b.png").symlink_to(folder / "a.png")
    file, directory, inside = _read(folder)
    assert "leads out of the folder through a symbolic link" in file.reason
    assert "leads out of the folder through a symbolic link" in directory.reason
    assert isinstance(inside, Example)


PARTS = st.sampled_from(["..", ".", "a", "", "C:", "~", "\\", "..\\..", "\0", "etc"]) | st.text(max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PARTS, max_size=5), st.sampled_from(["/", "\\"]), st.booleans())
def test_no_path_leads_out_of_the_folder(tmp_path: Path, parts: list[str], separator: str, absolute: bool) -> None:
    name = separator * absolute + separator.join(parts)
    try:
        found = locate(tmp_path, name)
    except VicurError:
        return
    assert found.resolve().is_relative_to(tmp_path.resolve())
    assert not name.startswith(("/", "\\"))
    assert ".." not in name.replace("\\", "/").split("/")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "images", "question", "answer", "split", "metadata", "choices"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_line_raises_an_error(tmp_path: Path, line: bytes) -> None:
    assume(line[:2] not in (b"\xff\xfe", b"\xfe\xff"))  # the whole file is UTF-16
    (tmp_path / "examples.jsonl").write_bytes(line.replace(b"\n", b" ").replace(b"\r", b" "))
    for result in _read(tmp_path):
        assert isinstance(result, SkippedRow)
        assert result.reason
        assert result.remedy


def test_parquet_rows_may_contain_their_images(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(png(7, 7))
    rows = [
        {**row("a", images=[{"bytes": png(), "path": "elsewhere.png"}]), "metadata": '{"group": "g"}'},
        {**row("b", images=[{"bytes": None, "path": "b.png"}]), "metadata": None},
        {**row("c", images=[{"bytes": b"no", "path": None}]), "metadata": "{"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "examples.parquet")
    held, named, broken = _read(tmp_path)
    assert isinstance(held, Example)
    assert (held.images, held.group) == ((png(),), "g")
    assert isinstance(named, Example)
    assert named.images == (png(7, 7),)
    assert str(broken).startswith("examples.parquet:row 3:images[0]: the image in the row is not an image")


def test_parquet_columns_may_be_paths_and_structs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    pq.write_table(pa.Table.from_pylist([row("a", metadata={"kind": "k"})]), tmp_path / "examples.parquet")
    [example] = _read(tmp_path)
    assert isinstance(example, Example)
    assert example.kind == "k"


def test_a_file_that_is_not_parquet_is_reported(tmp_path: Path) -> None:
    (tmp_path / "examples.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(VicurError, match=r"examples\.parquet: cannot be read as parquet"):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"has no data files in a format that is recognised .* write an examples\.jsonl"),
        (["examples.jsonl", "examples.parquet"], r"contains both .* Remove one of them\."),
    ],
)
def test_a_folder_needs_data_in_one_format(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(VicurError, match=message):
        _read(tmp_path)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"none: is not a folder\. Set data\.path"):
        _read(tmp_path / "none")
