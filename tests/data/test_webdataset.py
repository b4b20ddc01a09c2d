import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.data.layouts.files import write_tar
from tests.data.layouts.items import encoded, shows
from vicur.config.data import FolderConfig
from vicur.data.formats import FORMATS, Record, SourceFolder, Unit, webdataset
from vicur.data.schema import Fault
from vicur.errors import VicurError

FORMAT = FORMATS["webdataset"]


def _sample(key: str, **fields: Any) -> list[tuple[str, bytes]]:
    return [
        (f"{key}.png", encoded(1)),
        (f"{key}.json", json.dumps({"question": key, "answer": "1", **fields}).encode()),
    ]


def _units(folder: Path, **settings: Any) -> list[Unit]:
    return FORMAT.units(SourceFolder(folder), FolderConfig(path=folder, **settings))


def _records(folder: Path, **settings: Any) -> list[Record]:
    config = FolderConfig(path=folder, **settings)
    source = SourceFolder(folder)
    return [record for unit in _units(folder, **settings) for record in FORMAT.records(source, unit, config)]


def _columns(folder: Path) -> list[Any]:
    return [record.columns for record in _records(folder)]


def _member(name: str, **changes: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for attribute, value in changes.items():
        setattr(member, attribute, value)
    return member


def _hostile(path: Path, *members: tarfile.TarInfo) -> None:
    """Write members without content between two good samples."""
    with tarfile.open(path, "w") as archive:
        for key in ("a", "z"):
            for name, data in _sample(key):
                archive.addfile(_member(name, size=len(data)), io.BytesIO(data))
            if key == "a":
                for member in members:
                    archive.addfile(member)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (_member("../m.png"), "leads out of the archive"),
        (_member("/m.png"), "leads out of the archive"),
        (_member("m/../../m.json"), "leads out of the archive"),
        (_member("C:\\m.png"), "leads out of the archive"),
        (_member("m.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (_member("m.png", type=tarfile.LNKTYPE, linkname="a.png"), "is a link"),
        (_member("m.json", type=tarfile.FIFOTYPE), "is not a regular file"),
        (_member("m.png", type=tarfile.CHRTYPE), "is not a regular file"),
    ],
)
def test_a_hostile_member_makes_its_sample_unusable(tmp_path: Path, member: tarfile.TarInfo, reason: str) -> None:
    _hostile(tmp_path / "s.tar", member)
    before, bad, after = _columns(tmp_path)
    assert isinstance(bad, Fault)
    assert reason in bad.reason
    assert (before["question"], after["question"]) == ("a", "z")


@pytest.mark.parametrize(("name", "claimed"), [("b.png", 1 << 33), ("b.json", 1 << 28)])
def test_an_oversized_member_is_not_read(tmp_path: Path, name: str, claimed: int) -> None:
    write_tar(tmp_path / "s.tar", _sample("a"))
    with (tmp_path / "s.tar").open("r+b") as stream:
        stream.seek(-tarfile.RECORDSIZE, 2)
        whole = (tmp_path / "s.tar").read_bytes()
    end = whole.rindex(b"ustar") - 257 + 1024  # after the last member
    header = _member(name, size=claimed).tobuf(tarfile.GNU_FORMAT)
    # A sparse file: it claims gigabytes, and has none of them.
    with (tmp_path / "s.tar").open("r+b") as stream:
        stream.seek(end)
        stream.write(header)
        stream.truncate(end + 512 + claimed + (-claimed % 512) + 1024)
    good, bad = _columns(tmp_path)
    assert good["question"] == "a"
    assert isinstance(bad, Fault)
    assert "MiB that are read" in bad.reason


@pytest.mark.parametrize("cut", [0, 700, 3000])
def test_a_truncated_archive_is_an_error_and_not_a_short_dataset(tmp_path: Path, cut: int) -> None:
    write_tar(tmp_path / "s.tar", [*_sample("a"), *_sample("b")])
    whole = (tmp_path / "s.tar").read_bytes().rstrip(b"\0")
    # Without a cut, the last block is whole, and only the mark of the end is missing.
    (tmp_path / "s.tar").write_bytes(whole[: len(whole) - cut] if cut else whole + bytes(-len(whole) % 512))
    with pytest.raises(VicurError, match=r"s\.tar: is a damaged archive \(.*truncated|unexpected end"):
        _records(tmp_path)


def test_joined_archives_are_an_error_and_not_a_short_dataset(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", _sample("a"))
    (tmp_path / "s.tar").write_bytes((tmp_path / "s.tar").read_bytes() * 2)
    with pytest.raises(VicurError, match="cannot be joined with cat"):
        _records(tmp_path)


def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(VicurError, match=r"s\.tar: is a damaged archive"):
        _records(tmp_path)


@pytest.mark.parametrize("name", ["s.tar.gz", "s.tgz"])
def test_a_compressed_archive_is_read(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / "plain.tar", [*_sample("a"), *_sample("b")])
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / "plain.tar").read_bytes()))
    (tmp_path / "plain.tar").unlink()
    assert [columns["question"] for columns in _columns(tmp_path)] == ["a", "b"]


def test_units_divide_an_archive_at_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "train-0.tar", [member for number in range(7) for member in _sample(f"{number:03}")])
    whole = _records(tmp_path)
    monkeypatch.setattr(webdataset, "UNIT_ROWS", 3)
    units = _units(tmp_path)
    assert [(unit.first, unit.end, unit.split) for unit in units] == [(1, 4, "train"), (4, 7, "train"), (7, 8, "train")]
    assert _records(tmp_path) == whole
    assert [record.row for record in whole] == list(range(1, 8))


def test_members_with_several_dots_belong_to_the_sample(tmp_path: Path) -> None:
    members = [
        ("a.left.png", encoded(1)),
        ("a.right.png", encoded(2)),
        ("a.question.txt", b"?"),
        ("a.json", b'{"answer": 3}'),
    ]
    write_tar(tmp_path / "s.tar", members)
    [columns] = _columns(tmp_path)
    assert [shows(image, number) for image, number in zip(columns["images"], (1, 2), strict=True)] == [True, True]
    assert (columns["id"], columns["answer"], columns["question.txt"]) == ("a", 3, "?")


@pytest.mark.parametrize(
    ("texts", "question", "answer"),
    [
        ({"txt": b"q", "cls": b"3"}, "q", "3"),
        ({"json": b'{"question": "q"}', "txt": b"a"}, "q", "a"),
        ({"json": b'{"answer": "a"}', "txt": b"q\n"}, "q", "a"),
        ({"json": b'{"question": "q", "answer": "a"}', "txt": b"other"}, "q", "a"),
        ({"txt": b"q"}, "q", None),
    ],
)
def test_texts_become_question_and_answer(
    tmp_path: Path, texts: dict[str, bytes], question: str, answer: str | None
) -> None:
    write_tar(tmp_path / "s.tar", [("a.png", encoded(1)), *((f"a.{kind}", data) for kind, data in texts.items())])
    [columns] = _columns(tmp_path)
    assert (columns.get("question"), columns.get("answer")) == (question, answer)


@pytest.mark.parametrize(
    ("members", "field", "reason"),
    [
        ([("a.json", b"{")], "json", "is not JSON"),
        ([("a.json", b"[]")], "json", "is a list, not a JSON object"),
        ([("a.txt", b"\xff")], "txt", "is not UTF-8"),
        ([("a.png", b"1"), ("a.png", b"2")], "png", "is twice in the archive"),
        ([(f"a.{number}.txt", b"") for number in range(1100)], "", "has more than 1024 members"),
    ],
)
def test_a_faulty_sample_is_reported(tmp_path: Path, members: list[tuple[str, bytes]], field: str, reason: str) -> None:
    write_tar(tmp_path / "s.tar", [*members, *_sample("b")])
    bad, good = _columns(tmp_path)
    assert isinstance(bad, Fault)
    assert bad.field == field
    assert reason in bad.reason
    assert good["question"] == "b"


def test_other_members_are_not_read(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [*_sample("a"), ("a.pkl", b"cos\nsystem\n"), ("a.npy", b"\x93NUMPY")])
    [columns] = _columns(tmp_path)
    assert set(columns) == {"id", "question", "answer", "images"}


def test_files_select_shards_with_wildcards(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "extra-0"):
        write_tar(tmp_path / f"{name}.tar", _sample(name))
    found = [record.columns["question"] for record in _records(tmp_path, files=("train-*.tar",))]  # type: ignore[index,call-overload]
    assert found == ["train-0", "train-1"]
