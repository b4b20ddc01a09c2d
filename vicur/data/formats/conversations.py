"""Conversations in LLaVA's form: ``conversations`` is a list of ``{"from": "human" | "gpt", "value": text}``.

LLaVA, LLaVA-OneVision, LLaVA-CoT, ShareGPT4V, R1-Onevision and others. ``image`` (or ``images``) is a path, a list of paths, base64 or
an embedded image; others have no image, or a ``video``. :mod:`vicur.data.formats.turns` says how questions are taken from a conversation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vicur.config.data import ImportConfig
from vicur.data.formats.base import Recognised
from vicur.data.formats.beginnings import representatives
from vicur.data.formats.columns import PUBLIC
from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import RowLayout
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.formats.turns import Turn, answered, paired, pairs
from vicur.data.schema import Fault, UnusableRowError

_NAMES = ("conversations", "conversation")
_IMAGES = (
    "images",
    "image",
    "image_path",
    "image_paths",
    "image_urls",
    "image_url",
    "image_list",
    "image_file",
    "img_path",
)


class _Conversations(RowLayout):
    """Rows with a list of turns, each with a speaker and a text."""

    identified_by = (frozenset({"conversations"}), frozenset({"conversation"}))

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        field = next(name for name in _NAMES if name in row)
        found = turns_of(row[field], field)
        images = image_list(row)
        video = None if images else video_of(row)
        if video is not None:
            # LLaVA-Video marks the place of a video as that of an image.
            found = [Turn(turn.role, turn.text.replace("<image>", "<video>")) for turn in found]
        found, used = answered(found, row)
        names = (field, "id", "system", *image_columns(row), *used)
        kept = {key: value for key, value in row.items() if key not in names}
        if video is not None:
            kept = {key: value for key, value in kept.items() if key not in PUBLIC["video"]} | {"video": video}
        if isinstance(row.get("system"), str) and row["system"].strip():
            found = [Turn("system", row["system"]), *found]
        for pair in pairs(found, images, row.get("id"), field):
            yield pair.columns if isinstance(pair.columns, Fault) else {**kept, **pair.columns}


@register
class ConversationsFormat(_Conversations):
    """LLaVA's rows."""

    name = "conversations"
    description = "LLaVA's conversations (from, value) with <image> markers"


@register
class VisionR1Format(_Conversations):
    """Vision-R1-cold: two JSON lists with different columns, and the folders of images that they name."""

    name = "vision_r1"
    description = "Vision-R1-cold: vision_r1_*.json with reasoning in <think> and the answer in <answer>"
    refines = ("conversations",)

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        found = super().recognise(folder, config)
        if found is None or not all(_last_part(name).startswith("vision_r1") for name in representatives(found.files)):
            return None
        return found


def turns_of(value: Any, field: str) -> list[Turn]:
    """Return the turns of a conversation as LLaVA or OpenAI's text form writes them.

    Raises:
        UnusableRowError: if it is not a list of turns.
    """
    if not isinstance(value, list):
        raise UnusableRowError(field, "is not a list of turns", 'Write [{"from": "human", "value": "..."}, ...].')
    turns: list[Turn] = []
    for place, turn in enumerate(value):
        if (both := paired(turn)) is not None and all(isinstance(each.text, str) for each in both):
            turns += both
            continue
        is_turn = isinstance(turn, dict)
        role = (turn.get("from") or turn.get("role")) if is_turn else None
        text = (turn["value"] if "value" in turn else turn.get("content")) if is_turn else None
        if not isinstance(role, str) or not isinstance(text, str):
            raise UnusableRowError(
                f"{field}[{place}]",
                "is not a turn with a speaker and a text",
                'Write {"from": "human", "value": "..."}.',
            )
        turns.append(Turn(role, text))
    return turns


def image_columns(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of a conversation's images: the first one that is not empty, and those that would be it."""
    found = next((name for name in _IMAGES if row.get(name) not in (None, "", [])), None)
    return tuple(name for name in ("images", "image", found) if name is not None)


def image_list(row: Mapping[str, Any]) -> list[Any]:
    """Return the images of a row: one or a list. Empty values are skipped."""
    value: Any = next((row[name] for name in _IMAGES if row.get(name) not in (None, "", [])), [])
    return value if isinstance(value, list) else [value]


def video_of(row: Mapping[str, Any]) -> Any:
    """Return the video of a row, by any name that public datasets use, or ``None``."""
    return next((row[name] for name in PUBLIC["video"] if row.get(name) not in (None, "", [])), None)


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]
