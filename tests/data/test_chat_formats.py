import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.layouts.items import base64_text, put_picture
from tests.data.layouts.tables import write_json, write_jsonl
from vicur.config.data import FolderConfig
from vicur.data.formats import SourceFolder
from vicur.data.reading import Reading
from vicur.data.rows import Row
from vicur.data.schema import SkippedRow
from vicur.errors import VicurError

URL = f"data:image/png;base64,{base64_text(1)}"


def _read(folder: Path, **settings: Any) -> list[Row | SkippedRow | None]:
    reading = Reading.of(SourceFolder(folder), FolderConfig(path=folder, **settings))
    return [row for unit in reading.units() for row in reading.rows(unit)]


def _messages(folder: Path, content: Any, answer: Any = "7", **more: Any) -> Row | SkippedRow | None:
    put_picture(folder / "a.png", 1)
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    write_jsonl(folder / "chat.jsonl", [{"messages": turns, **more}])
    [row] = _read(folder)
    return row


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("content", "question", "images"),
    [
        ("What?", "What?", 0),
        ([_text("What?")], "What?", 0),
        ([{"type": "image_url", "image_url": {"url": URL}}, _text("What?")], "What?", 1),
        ([{"type": "image_url", "image_url": URL}, _text("What?")], "What?", 1),
        ([{"type": "input_image", "image_url": URL}, {"type": "input_text", "text": "What?"}], "What?", 1),
        ([_text("Look:"), {"type": "image", "image": "a.png"}, _text("What?")], "Look:\n<image>\nWhat?", 1),
        ([{"type": "image", "image": "file://a.png"}, _text("1"), _text("2")], "1\n2", 1),
        (
            [{"type": "image", "image": "a.png"}, _text("and"), {"type": "image", "image": "a.png"}],
            "<image>\nand\n<image>",
            2,
        ),
    ],
)
def test_parts_become_text_with_markers(tmp_path: Path, content: Any, question: str, images: int) -> None:
    row = _messages(tmp_path, content)
    assert isinstance(row, Row)
    assert (row.example.question, len(row.example.images)) == (question, images)


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (
            [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, _text("?")],
            "images[0]",
            "not fetched",
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,xx"}}, _text("?")],
            "images[0]",
            "not an image",
        ),
        ([{"type": "image_url", "image_url": {"url": "../a.png"}}, _text("?")], "images[0]", "not a path inside"),
        (
            [{"type": "image_url", "image_url": {}}, _text("?")],
            "messages[0].content[0]",
            "of type 'image_url' without an image",
        ),
        ([{"type": "input_audio", "input_audio": {"data": ""}}], "messages[0].content[0]", "of type 'input_audio'"),
        ([7], "messages[0].content[0]", "is not text"),
        (7, "messages[0].content", "is neither text nor a list of parts"),
        (None, "messages[0].content", "is neither text nor a list of parts"),
    ],
)
def test_an_unusable_part_is_reported(tmp_path: Path, content: Any, field: str, reason: str) -> None:
    row = _messages(tmp_path, content)
    assert isinstance(row, SkippedRow)
    assert row.field == field
    assert reason in row.reason
    assert row.remedy


def test_images_in_two_places_are_refused(tmp_path: Path) -> None:
    row = _messages(tmp_path, [{"type": "image", "image": "a.png"}, _text("?")], images=["a.png"])
    assert isinstance(row, SkippedRow)
    assert (row.field, row.reason) == ("images", "has images, but the messages contain images as well")


@pytest.mark.parametrize(
    ("turns", "field", "reason"),
    [
        ("text", "conversations", "is not a list of turns"),
        (["text"], "conversations[0]", "is not a turn with a speaker and a text"),
        ([{"from": "human", "value": 7}], "conversations[0]", "is not a turn with a speaker and a text"),
        ([{"from": "human", "value": "?"}], "conversations", "ends with a question that has no response"),
        ([{"from": "human", "value": "?"}, {"from": "gpt", "value": ""}], "conversations", "has no answer"),
        ([{"from": "human", "value": "?"}, {"from": "gpt", "value": "<think>I"}], "conversations", "has no answer"),
    ],
)
def test_an_unusable_conversation_is_reported(tmp_path: Path, turns: Any, field: str, reason: str) -> None:
    good = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "7"}]
    write_json(tmp_path / "chat.json", [{"id": "a", "conversations": good}, {"id": "b", "conversations": turns}])
    first, second = _read(tmp_path)
    assert isinstance(first, Row)
    assert isinstance(second, SkippedRow)
    assert second.field == field
    assert reason in second.reason


def test_a_row_without_the_columns_of_its_layout_is_reported(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "7"}]}
    write_jsonl(tmp_path / "chat.jsonl", [good, {"text": "What?"}])
    _, second = _read(tmp_path)
    assert isinstance(second, SkippedRow)
    assert (second.field, second.reason) == ("messages", "is missing")


def test_two_layouts_in_one_folder_are_refused_with_both_names(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "7"}]
    write_json(tmp_path / "llava.json", [{"id": "a", "conversations": turns}])
    put_picture(tmp_path / "train/images/0.png", 1)
    (tmp_path / "train/questions.json").write_text(json.dumps([["What?", "7", 0]]))
    with pytest.raises(VicurError, match=r"several formats: .*conversations \(llava\.json\).*easy_vqa") as caught:
        _read(tmp_path)
    assert "data.format" in str(caught.value)
    assert len(_read(tmp_path, format="easy_vqa")) == 1
    assert len(_read(tmp_path, format="conversations")) == 1


def test_images_in_folders_of_classes_need_a_question(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(2):
            put_picture(tmp_path / "train" / name / f"{number}.png", number)
    rows = _read(tmp_path, question="Which animal is it?")
    found = [(row.example.question, row.example.answer, row.split) for row in rows if isinstance(row, Row)]
    assert found == [("Which animal is it?", name, "distill") for name in ("cat", "cat", "dog", "dog")]
    with pytest.raises(VicurError, match=r"folders of images: data\.question sets the question"):
        _read(tmp_path, format="imagefolder")
