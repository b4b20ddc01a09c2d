"""IconQA as released: a folder for each problem, in a folder for each kind of question and each split.

    train/choose_txt/11/data.json  image.png
    train/choose_img/12/data.json  image.png  choice_0.png  choice_1.png
    train/fill_in_blank/13/data.json  image.png

Choices that are names of images are shown as images, at their places behind the letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.documents import FIELDS
from vicur.data.formats.geometry3k import problems
from vicur.data.formats.json_values import parsed_object
from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import without
from vicur.data.formats.science import letter_of
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault, UnusableRowError
from vicur.data.splitting import file_split

_IMAGE = "image.png"
_KINDS = ("choose_txt", "choose_img", "fill_in_blank")
_MOST_BYTES = 1 << 20
_MARKER = "<image>"


@register
class IconQaFormat(Format):
    """One folder for each problem. The answer is the number of a choice, or a text."""

    name = "iconqa"
    description = "IconQA's folders: train/KIND/ID/data.json and image.png, choice_0.png"
    columns = FIELDS
    refines = ("imagefolder",)

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = _problems(folder, config)
        return Recognised(found) if found else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        groups: dict[str, list[str]] = {}
        for name in _problems(folder, config):
            groups.setdefault(_group(name), []).append(name)
        return [
            Unit(
                file=group,
                first=first,
                end=min(first + UNIT_ROWS, len(names) + 1),
                split=file_split(names[0], config.splits),
            )
            for group, names in groups.items()
            for first in range(1, len(names) + 1, UNIT_ROWS)
        ]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:
        names = [name for name in _problems(folder, config) if _group(name) == unit.file]
        for name in names[unit.first - 1 : unit.end - 1]:
            yield Record(name, 1, _columns(folder, name), unit.split)


def _problems(folder: SourceFolder, config: ImportConfig) -> list[str]:
    chosen = set(folder.matching(config.files)) if config.files else None
    return [
        name
        for name in problems(folder)
        if _group(name).rpartition("/")[2] in _KINDS and (chosen is None or name in chosen)
    ]


def _group(name: str) -> str:
    """Return the folder that holds the problem's folder."""
    return "/".join(name.split("/")[:-2])


def _columns(folder: SourceFolder, name: str) -> Mapping[str, Any] | Fault:
    try:
        with folder.open(name) as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise UnusableRowError("", f"has more than {_MOST_BYTES >> 20} MiB", "Replace it by a problem's file.")
        return _problem(parsed_object(text), name.rpartition("/")[0], name)
    except UnusableRowError as error:
        return error.fault


def _problem(data: Mapping[str, Any], beside: str, name: str) -> Mapping[str, Any]:
    question, choices, answer = data.get("question"), data.get("choices"), data.get("answer")
    images = [f"{beside}/{_IMAGE}"]
    if choices:
        answer = letter_of(answer, choices, "answer")
        if all(isinstance(choice, str) and choice.endswith(".png") for choice in choices):
            images += [f"{beside}/{choice}" for choice in choices]
            question, choices = f"{_MARKER}{question}" if question else question, [_MARKER] * len(choices)
    return {
        **without(data, "question", "choices", "answer", "ques_type"),
        "id": name.split("/")[-2],
        "question": question,
        "choices": choices or [],
        "answer": answer,
        "images": images,
        "kind": data.get("ques_type", _group(name).rpartition("/")[2]),
    }
