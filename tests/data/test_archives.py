"""Images in archives beside the data files, and several images in one cell."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import BLUE, RED, examples, rows, write
from tests.data.layouts import LAYOUTS
from vicur.data.formats import archives
from vicur.data.schema import SkippedRow


def _zip(path: Path, members: Mapping[str, bytes], kind: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _rows(folder: Path, *images: Any) -> Path:
    return write(
        folder, {"train.json": [{"question": f"{n}?", "answer": n, "image": name} for n, name in enumerate(images)]}
    )


def _reason(folder: Path) -> str:
    [row] = rows(folder)
    assert isinstance(row, SkippedRow)
    return row.reason


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("inside", ["", "images/", "deep/images/"])
def test_images_in_a_zip_are_found_as_if_it_were_unpacked(tmp_path: Path, inside: str, kind: int) -> None:
    _zip(
        _rows(tmp_path, "a.png", "images/a.png", "b.png") / "images.zip",
        {f"{inside}a.png": RED, f"{inside}b.png": BLUE},
        kind,
    )
    assert [example.images for example in examples(tmp_path)] == [(RED,), (RED,), (BLUE,)]


def test_images_in_a_tar_are_found(tmp_path: Path) -> None:
    _tar(_rows(tmp_path, "./val/a.png", "b.png") / "val.tar", {"./a.png": RED, "sub/b.png": BLUE})
    assert [example.images for example in examples(tmp_path)] == [(RED,), (BLUE,)]


def test_files_come_before_members_of_archives(tmp_path: Path) -> None:
    write(_rows(tmp_path, "a.png"), {"photos/a.png": BLUE})
    _zip(tmp_path / "images.zip", {"a.png": RED})
    assert examples(tmp_path)[0].images == (BLUE,)


def test_an_image_in_two_archives_is_ambiguous(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        _zip(_rows(tmp_path, "a.png") / name, {"a.png": RED})
    assert _reason(tmp_path) == "'a.png' could be one.zip/a.png or two.zip/a.png"


def test_layouts_find_their_images_in_archives(tmp_path: Path) -> None:
    layout = next(each for each in LAYOUTS if each.name == "vqav2")
    layout.write(tmp_path)
    whole = [example.images for example in examples(tmp_path)]
    pictures = sorted([*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.png")])
    _zip(tmp_path / "pictures.zip", {picture.name: picture.read_bytes() for picture in pictures})
    for picture in pictures:
        picture.unlink()
    assert [example.images for example in examples(tmp_path)] == whole


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "C:\\a.png"])
def test_members_that_lead_out_of_the_archive_do_not_exist(tmp_path: Path, name: str) -> None:
    _zip(_rows(tmp_path, "a.png") / "images.zip", {name: RED})
    assert _reason(tmp_path) == "the file 'a.png' does not exist"


def test_links_do_not_exist(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("a.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(_rows(tmp_path, "a.png") / "images.zip", "w") as archive:
        archive.writestr(member, "/etc/hostname")
    link = tarfile.TarInfo("a.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        tar.addfile(link)
    assert _reason(tmp_path) == "the file 'a.png' does not exist"


def test_a_member_that_decompresses_too_far_is_not_read(tmp_path: Path) -> None:
    _zip(_rows(tmp_path, "a.png") / "images.zip", {"a.png": bytes(8 << 20)}, zipfile.ZIP_DEFLATED)
    assert "decompresses to more than 1000 times" in _reason(tmp_path)


def test_a_member_that_is_larger_than_it_says_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = _rows(tmp_path, "a.png") / "images.zip"
    _zip(path, {"a.png": bytes(8 << 20)}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 24, 100)  # its size in the list of members
    path.write_bytes(data)
    assert "not an image" in _reason(tmp_path) or "archive" in _reason(tmp_path)


def test_archives_with_too_many_members_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    members = {f"{n}.png": RED for n in range(3)}
    _zip(_rows(tmp_path, "1.png") / "images.zip", members)
    _tar(tmp_path / "more.tar", members)
    assert _reason(tmp_path).startswith(
        "the file '1.png' does not exist (images.zip has more than 2 members; more.tar has"
    )


def test_a_list_of_members_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = _rows(tmp_path, "a.png") / "images.zip"
    _zip(path, {"a.png": RED})
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rfind(b"PK\x05\x06") + 12, 1 << 31)
    path.write_bytes(data)
    assert "list of members of more than 64 MiB" in _reason(tmp_path)


@pytest.mark.parametrize(
    ("kind", "version", "reason"),
    [(zipfile.ZIP_LZMA, None, "compressed by a method that is not read"), (zipfile.ZIP_STORED, 99, "images.zip")],
)
def test_archives_of_other_kinds_are_not_read(tmp_path: Path, kind: int, version: int | None, reason: str) -> None:
    path = _rows(tmp_path, "a.png") / "images.zip"
    _zip(path, {"a.png": RED}, kind)
    if version is not None:
        data = bytearray(path.read_bytes())
        struct.pack_into("<H", data, data.rfind(b"PK\x01\x02") + 6, version)
        path.write_bytes(data)
    assert reason in _reason(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda _: b"", lambda data: b"\xff" * len(data)])
def test_damaged_archives_are_not_read(tmp_path: Path, damage: Any) -> None:
    for name, make in (("images.zip", _zip), ("more.tar", _tar)):
        make(_rows(tmp_path, "a.png") / name, {"a.png": RED})
        (tmp_path / name).write_bytes(
            damage((tmp_path / name).read_bytes()) if name == "images.zip" else b"\xff" * 2048
        )
    assert "images.zip" in _reason(tmp_path)


def test_an_archive_that_has_to_be_unpacked_is_named(tmp_path: Path) -> None:
    _tar(_rows(tmp_path, "a.png") / "images.tar.gz", {"a.png": RED}, "w:gz")
    assert _reason(tmp_path) == "the file 'a.png' does not exist (images.tar.gz has to be unpacked first)"


@pytest.mark.parametrize(
    "cell",
    ['["a.png", "b.png"]', "['a.png', 'b.png']", "a.png|b.png", "a.png; b.png", " a.png | img/b.png ", "a;b.png"],
)
def test_a_cell_lists_several_images(tmp_path: Path, cell: str) -> None:
    text = f'id,image,question,answer\n1,"{cell.replace(chr(34), chr(34) * 2)}",Which?,12\n'
    write(
        tmp_path, {"rows.csv": text, "img/b.png": BLUE, **({"a;b.png": RED} if cell == "a;b.png" else {"a.png": RED})}
    )
    [example] = examples(tmp_path)
    assert example.images == ((RED,) if cell == "a;b.png" else (RED, BLUE))


def test_a_missing_image_of_a_list_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"rows.csv": "id,image,question,answer\n1,a.png;c.png,Which?,12\n", "a.png": RED})
    [row] = rows(tmp_path)
    assert isinstance(row, SkippedRow)
    assert (row.field, row.reason) == ("images[1]", "the file 'c.png' does not exist")
