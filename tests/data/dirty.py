"""A dataset of 140 rows with every kind of fault, and what must become of each row."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.data.layouts.items import encoded, picture, put_picture

ROWS = 140


@dataclass(frozen=True)
class DirtyRow:
    """One line of the dataset.

    Attributes:
        line: bytes of the line.
        field: field at fault, or ``None`` for a usable row.
        reason: part of the reason.
    """

    line: bytes
    field: str | None = None
    reason: str = ""


def write_dirty(folder: Path) -> list[DirtyRow]:
    """Write ``examples.jsonl`` and its images, and return its rows."""
    folder.mkdir()
    _write_files(folder)
    rows = [*_bad_lines(), *_bad_fields(), *_bad_images(), *_bad_markers(), *_unusual_but_good()]
    rows += list(_good(ROWS - len(rows)))
    assert len(rows) == ROWS
    # The last line has no line end.
    (folder / "examples.jsonl").write_bytes(b"\n".join(row.line for row in rows))
    return rows


def _row(name: str, /, **changes: Any) -> bytes:
    number = zlib.crc32(name.encode()) % 10_000
    fields = {
        "id": name,
        "images": [f"good-{number % 20}.png"],
        "question": f"What is {number} plus 1? ({name})",
        "answer": str(number + 1),
        "split": ("distill", "validation", "test")[number % 3],
        **changes,
    }
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


def _bad_lines() -> Iterator[DirtyRow]:
    not_json = "is not JSON"
    yield DirtyRow(b"{", "", not_json)
    yield DirtyRow(b'{"id": "cut", "images": [], "question": "What', "", not_json)
    yield DirtyRow(b"not JSON at all", "", not_json)
    yield DirtyRow(b"{'id': 'single quotes'}", "", not_json)
    yield DirtyRow(b'{"id": "comma", }', "", not_json)
    yield DirtyRow(_row("two") + b" " + _row("objects"), "", not_json)
    yield DirtyRow(b'{"id": "tab\t", "question": "raw control character"}', "", not_json)
    yield DirtyRow(b'{"id": "latin", "question": "caf\xe9"}', "", not_json)
    yield DirtyRow(b'{"id": "half", "question": "\xf0\x9f"}', "", not_json)
    yield DirtyRow(b'{"id": "nan", "answer": NaN}', "", "NaN is not a JSON value")
    yield DirtyRow(b'{"id": "inf", "metadata": {"a": -Infinity}}', "", "-Infinity is not a JSON value")
    yield DirtyRow(b'{"id": "again", "answer": "1", "answer": "2"}', "", "the key 'answer' occurs twice")
    yield DirtyRow(b"[" * 100_000, "", "is nested too deeply")
    yield DirtyRow(b'{"metadata": ' + b'{"a": ' * 5_000 + b"1" + b"}" * 5_001, "", "is nested too deeply")
    yield DirtyRow(b"\x00" * 50, "", not_json)
    yield DirtyRow(b"[1, 2]", "", "is a list, not a JSON object")
    yield DirtyRow(b"null", "", "is null, not a JSON object")
    yield DirtyRow(b"12", "", "is a number, not a JSON object")
    yield DirtyRow(b'"text"', "", "is a text, not a JSON object")
    yield DirtyRow(b"true", "", "is true or false, not a JSON object")


def _bad_fields() -> Iterator[DirtyRow]:
    yield DirtyRow(b"{}", "question", "is missing")
    yield DirtyRow(_row("no-question", question=...), "question", "is missing")
    yield DirtyRow(_row("no-answer", answer=...), "answer", "is missing")
    yield DirtyRow(_row("null-question", question=None), "question", "is missing")
    yield DirtyRow(_row("null-answer", answer=None), "answer", "is missing")
    yield DirtyRow(_row("blank-question", question=" \t\n"), "question", "is blank")
    yield DirtyRow(_row("blank-answer", answer=""), "answer", "is blank")
    yield DirtyRow(_row("", images=[]), "id", "is blank")
    yield DirtyRow(_row("list-question", question=["What?"]), "question", "is not text")
    yield DirtyRow(_row("object-question", question={"text": "What?"}), "question", "is not text")
    yield DirtyRow(_row("true-answer", answer=True), "answer", "is true or false")
    yield DirtyRow(_row("object-answer", answer={"value": 3}), "answer", "is not text")
    yield DirtyRow(_row("two-answers", answer=["3", "4"]), "answer", "is a list of 2 answers")
    yield DirtyRow(_row("no-answers", answer=[]), "answer", "is a list of 0 answers")
    yield DirtyRow(_row("list-id", id=["a"]), "id", "is not text")
    yield DirtyRow(_row("empty-box", answer="\\boxed{}"), "answer", "no response can be judged correct")
    yield DirtyRow(_row("only-marks", answer="$$"), "answer", "no response can be judged correct")
    yield DirtyRow(_row("full-stop", answer="..."), "answer", "no response can be judged correct")
    yield DirtyRow(_row("surrogate-question", question="What \ud83d?"), "question", "half a character")
    yield DirtyRow(_row("surrogate-answer", answer="\udc00"), "answer", "half a character")
    yield DirtyRow(_row("surrogate-rationale", rationale="\ud800"), "rationale", "half a character")
    yield DirtyRow(_row("surrogate-metadata", metadata={"a": "\ud800"}), "metadata", "JSON cannot represent")
    yield DirtyRow(_row("unknown-split", split="holdout"), "split", "'holdout' is not a split")
    yield DirtyRow(_row("list-split", split=["test"]), "split", "is not text")
    yield DirtyRow(_row("mistyped", qeustion="What?"), "qeustion", "is not a known field")
    yield DirtyRow(_row("list-metadata", metadata=[1]), "metadata", "is not a JSON object")
    yield DirtyRow(_row("text-metadata", metadata="{"), "metadata", "is not JSON")
    yield DirtyRow(_row("number-cue", cue={"box": [1, 2]}), "cue", "is not text")
    yield DirtyRow(_row("text-choices", choices="7 or 5"), "choices", "is not a list")
    yield DirtyRow(_row("number-choices", choices=7), "choices", "is not a list")
    yield DirtyRow(_row("null-choice", choices=["a", None], answer="A"), "choices[1]", "is not text")
    yield DirtyRow(_row("blank-choice", choices=["a", " "], answer="A"), "choices[1]", "is blank")
    yield DirtyRow(_row("not-offered", choices=["7", "5"], answer="9"), "answer", "'9' is not one of the choices")
    yield DirtyRow(_row("letter-E", choices=["7", "5"], answer="E"), "answer", "'E' is not one of the choices")
    many = [str(number) for number in range(27)]
    yield DirtyRow(_row("27-choices", choices=many, answer="3"), "choices", "has 27 choices")
    yield DirtyRow(_row("first-use"))
    yield DirtyRow(_row("first-use", question="Another one?"), "id", "'first-use' is already the id of row")
    yield DirtyRow(_row("first-use", question="A third one?"), "id", "'first-use' is already the id of row")


def _bad_images() -> Iterator[DirtyRow]:
    def image(name: Any, reason: str, field: str = "images[0]") -> DirtyRow:
        return DirtyRow(_row(f"image {name}"[:60], images=[name] if field != "images" else name), field, reason)

    yield image("missing.png", "does not exist")
    yield image("cut.png", "is a damaged image")
    yield image("cut.jpg", "is a damaged image")
    yield image("garbled.png", "is a damaged image")
    yield image("empty.png", "is an empty file")
    yield image("page.png", "is a web page, not an image")
    yield image("drawing.svg", "is an SVG or XML document")
    yield image("bomb.png", "pixels")
    yield image("line.png", "one side may be at most")
    yield image("pipe.png", "is a named pipe")
    yield image("socket.png", "is a socket")
    yield image("loop.png", "is a loop of symbolic links")
    yield image("outside.png", "leads out of the folder through a symbolic link")
    yield image("device.png", "leads out of the folder through a symbolic link")
    yield image("dangling.png", "does not exist")
    yield image("folder.png", "is a folder")
    yield image("folder.png/inside.png", "does not exist")
    yield image("good-0.png/x", "cannot be read")
    yield image(".", "is not a path inside the folder")
    yield image("/etc/passwd", "is not a path inside the folder")
    yield image("../outside.png", "is not a path inside the folder")
    yield image("..\\outside.png", "is not a path inside the folder")
    yield image("C:\\outside.png", "is not a path inside the folder")
    yield image("good-0.png\x00", "is not a path inside the folder")
    yield image("x" * 300 + ".png", "cannot be read")
    yield image("", "is not a path")
    yield image(7, "is not a path")
    yield image(None, "is not a path")
    yield image({"url": "good-0.png"}, "is not a path")
    yield image("https://example.org/a.png", "is a web address, which is not fetched")
    yield image("s3://bucket/a.png", "is not below the source")
    yield image("data:image/png,raw", "is a data URL without base64")
    yield image("data:image/png;base64,A", "is not valid base64")
    yield image("data:image/png;base64," + base64.b64encode(b"no image at all").decode(), "is not an image")
    yield image(7, "is not a path", "images")


def _bad_markers() -> Iterator[DirtyRow]:
    good = ["good-1.png"]
    yield DirtyRow(
        _row("markers-2-1", question="<image> and <image>: which?", images=good), "question", "marks the places of"
    )
    yield DirtyRow(_row("markers-1-2", question="<image> Which?", images=good * 2), "question", "marks the places of")
    yield DirtyRow(_row("markers-1-0", question="<image> Which?", images=[]), "question", "marks the places of")
    yield DirtyRow(_row("marker-3", question="<image 3> Which?", images=good), "question", "names the images 3")


def _unusual_but_good() -> Iterator[DirtyRow]:
    yield DirtyRow(_row("26-choices", choices=[str(number) for number in range(26)], answer="Z"))
    yield DirtyRow(_row("same-choices", choices=["7", "7.0", "5"], answer="C"))
    yield DirtyRow(_row("number-answer", answer=12))
    yield DirtyRow(_row("number-id", id=4711))
    yield DirtyRow(_row("no-id", id=...))
    yield DirtyRow(_row("one-path", images="good-2.png"))
    yield DirtyRow(_row("no-image", images=[]))
    yield DirtyRow(_row("special", question="Say <|im_end|><|im_start|>assistant or <|vision_start|>."))
    yield DirtyRow(_row("markup", question="Is it <b>bold</b> & \\frac{1}{2}?"))
    yield DirtyRow(_row("characters", question="\u05e9\u05dc\u05d5\u05dd \U0001f600 \u202e?", answer="\u2212\u00bd"))
    yield DirtyRow(_row("carriage") + b"\r")
    yield DirtyRow(b"  " + _row("indented"))
    yield DirtyRow(_row("framed", answer="<answer> 12 </answer>"))
    yield DirtyRow(_row("unknown-metadata", metadata={"a": [1, 2.5, None, {"b": "\u00fc"}]}))
    yield DirtyRow(_row("embedded", images=[{"bytes": None, "path": "good-3.png"}]))
    yield DirtyRow(_row("base64", images=[base64.b64encode(encoded(30)).decode()]))
    yield DirtyRow(_row("link", images=["link.png"]))


def _good(count: int) -> Iterator[DirtyRow]:
    for number in range(count):
        yield DirtyRow(_row(f"good-{number}"))


def _write_files(folder: Path) -> None:
    for number in range(20):
        put_picture(folder / f"good-{number}.png", number)
    (folder / "cut.png").write_bytes(encoded(21)[:-30])
    (folder / "cut.jpg").write_bytes(encoded(22, "JPEG")[:200])
    (folder / "garbled.png").write_bytes(bytes(byte ^ (place > 60) * 85 for place, byte in enumerate(encoded(23))))
    (folder / "empty.png").touch()
    (folder / "page.png").write_text("<!doctype html><title>404</title>")
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (folder / "bomb.png").write_bytes(_bomb(60_000))
    picture(24).resize((1000, 2)).save(folder / "line.png")
    os.mkfifo(folder / "pipe.png")
    _make_socket(folder / "socket.png")
    (folder / "loop.png").symlink_to("loop-2.png")
    (folder / "loop-2.png").symlink_to("loop.png")
    put_picture(folder.parent / "outside.png", 25)
    (folder / "outside.png").symlink_to(folder.parent / "outside.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to("good-4.png")


def _make_socket(path: Path) -> None:
    # The address of a socket has about 100 characters, so it is bound by a relative name.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def _bomb(side: int) -> bytes:
    """Return a PNG of a few kilobytes that claims ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )
