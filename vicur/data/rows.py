"""Turns a record of any format into an example, or into the reason why it is unusable.

A row is read independently of all others, so that any process can read any part of a source. What depends on all rows (repeated ids, the
splits that are shared out) is decided later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from vicur.answers import can_be_met
from vicur.data.formats.base import Record
from vicur.data.formats.json_values import parsed_object
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.images import NormalisedImage
from vicur.data.prompt_budget import over_budget
from vicur.data.row_columns import NO_VALUE, Layout, fields_of
from vicur.data.row_images import images_of
from vicur.data.row_texts import NAMED, texts_of
from vicur.data.row_values import answer_of, choices_of, text_of
from vicur.data.row_videos import is_frame_folder, video_of
from vicur.data.schema import VIDEO, Example, Fault, SkippedRow, UnusableRowError
from vicur.data.splitting import LEFT_OUT, named_split
from vicur.prompts import ContentError, check_content

_SHOWN = 60  # characters of an answer in a message
_ID = 200  # characters of the id of a skipped row
_KEPT = 500  # characters of a column that becomes metadata
_COLUMNS = "columns"
_PROVISIONAL = "distill"
_VIDEO_FILE = re.compile(r"[^\n]{1,1000}\.(avi|m4v|mkv|mov|mp4|webm)", re.IGNORECASE)


class Row(NamedTuple):
    """A usable row. The example's split is provisional if ``split`` is ``None``: the source names none, so it is shared out."""

    file: str
    row: int
    example: Example
    split: str | None
    notes: tuple[str, ...] = ()  # what was changed in its images or its video
    pictures: tuple[NormalisedImage, ...] = ()  # its images as they were read; empty for a video


def read_row(record: Record, folder: SourceFolder, layout: Layout) -> Row | SkippedRow | None:
    """Read a record as an example. ``None`` if ``data.splits`` leaves its split out."""
    try:
        if isinstance(record.columns, Fault):
            return SkippedRow(file=record.file, row=record.row, **record.columns.model_dump())
        return _row(record, record.columns, folder, layout)
    except UnusableRowError as unusable:
        name = _shown_id(record.columns, layout)
        return SkippedRow(file=record.file, row=record.row, id=name, **unusable.fault.model_dump())


def _shown_id(columns: Mapping[str, Any] | Fault, layout: Layout) -> str:
    """Return the id of a row that cannot be used; empty if it has none."""
    if isinstance(columns, Fault):
        return ""
    value = next((columns[name] for name in layout.columns.get("id", ()) if name in columns), None)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    # It may be what is wrong with the row: lone surrogates cannot be written.
    return str(value).encode("utf-8", "replace").decode()[:_ID]


def _row(record: Record, columns: Mapping[str, Any], folder: SourceFolder, layout: Layout) -> Row | None:
    # A table has every column in every row; null means that the row lacks it.
    present = {name: value for name, value in columns.items() if value is not None}
    found, rest = fields_of(present, layout)
    values: dict[str, Any] = {field: match.value for field, match in found.items()}
    if layout.is_public:
        values = texts_of(found, rest, layout.question)
    label = text_of(values["split"], "split") if values.get("split") not in NO_VALUE else record.split
    if label is not None and layout.splits.get(label, label) is None:
        return None
    notes, pictures = _add_images(values, folder, record, layout)
    example = _example(values, rest, record, layout)
    split = named_split(label, layout.splits, example.group, layout.seed)
    if split == LEFT_OUT:
        return None
    if split is not None:
        example = example.model_copy(update={"split": split})
    return Row(record.file, record.row, example, split, notes, pictures)


def _add_images(
    values: dict[str, Any], folder: SourceFolder, record: Record, layout: Layout
) -> tuple[tuple[str, ...], tuple[NormalisedImage, ...]]:
    """Replace the images of a row, or its video, by stored images. Return what was changed in them, and the images."""
    video = values.pop(VIDEO, None) or _video_among_images(values, folder, record.file)
    if not video:
        images: tuple[NormalisedImage, ...] = ()
        if "images" in values:
            images = images_of(
                values["images"], folder, record.file, layout.max_pixels, fingerprints=layout.fingerprints
            )
        values["images"] = tuple(image.data for image in images)
        return tuple(note for image in images for note in image.notes), images
    if values.get("images"):
        raise UnusableRowError(VIDEO, "is there besides images", "Ask about a video or about images, not both.")
    sampled = video_of(video, folder, record.file, layout.video, layout.max_pixels)
    values["images"] = sampled.frames
    values[VIDEO] = {"timestamps": [*sampled.timestamps], "fps": sampled.fps}
    return sampled.notes, ()


def _video_among_images(values: dict[str, Any], folder: SourceFolder, file: str) -> Any:
    """Take a video out of the images, where layouts of files have it (``file_name: clip.mp4``, or a folder of frames)."""
    images = values.get("images")
    items = images if isinstance(images, list) else [images]
    if any(isinstance(item, str) and _VIDEO_FILE.fullmatch(item.strip()) for item in items):
        return values.pop("images")
    return values.pop("images") if len(items) == 1 and is_frame_folder(items[0], folder, file) else None


def _example(values: dict[str, Any], rest: dict[str, Any], record: Record, layout: Layout) -> Example:
    if layout.is_strict and rest:
        name = next(iter(rest))
        raise UnusableRowError(name, "is not a known field", "Remove the field, or move it into metadata.")
    fields = dict(values)
    fields["split"] = _PROVISIONAL
    fields["id"] = text_of(fields["id"], "id") if "id" in fields else f"{record.file}:{record.row}"
    fields["choices"] = choices_of(values["choices"]) if "choices" in fields else ()
    if "answer" in fields:
        fields["answer"] = answer_of(values["answer"], fields["choices"], layout.answer_index)
    fields["metadata"] = _metadata(fields, rest)
    fields = {name: value for name, value in fields.items() if name not in (*NAMED, VIDEO)}
    try:
        example = Example(**{"source": "folder", **fields})
    except ValidationError as error:
        fault = Fault.of(error)
        raise UnusableRowError(fault.field, fault.reason, fault.remedy) from error
    try:
        check_content(example.question, example.choices, example.visuals, is_video=example.video is not None)
    except ContentError as error:
        raise UnusableRowError(error.field, error.reason, error.remedy) from error
    if not can_be_met(example.answer, example.choices):
        reason = f"no response can be judged correct: {_shortened(example.answer)} does not match itself"
        raise UnusableRowError(
            "answer", reason, "Write one final answer: a number, formula, word or choice (docs/answers.md)."
        )
    if long := over_budget(example, layout.max_prompt_tokens):
        raise UnusableRowError(long.field, long.reason, long.remedy)
    return example


def _metadata(fields: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
    metadata = fields.get("metadata", {})
    if isinstance(metadata, str):
        metadata = parsed_object(metadata.encode("utf-8", "surrogatepass"), "metadata")
    if not isinstance(metadata, dict):
        return metadata  # which Example rejects
    named: dict[str, Any] = {name: text_of(fields[name], name) for name in NAMED if name in fields}
    if VIDEO in fields:
        named[VIDEO] = fields[VIDEO]
    kept = {name: value for name, value in rest.items() if value not in NO_VALUE and _is_small(value)}
    return {**metadata, **named, **({_COLUMNS: kept} if kept else {})}


def _is_small(value: Any) -> bool:
    if isinstance(value, bytes):
        return False
    try:
        return len(json.dumps(value, allow_nan=False)) <= _KEPT
    except (TypeError, ValueError, RecursionError):
        return False


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
