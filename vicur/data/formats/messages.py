"""Conversations in OpenAI's form: ``messages`` is a list of ``{"role": "user" | "assistant" | "system", "content": ...}``.

``content`` is a text, which may contain markers ``<image>`` for the column ``images`` (ms-swift, LLaMA-Factory), or a list of parts:

    {"type": "text", "text": "What is x?"}
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}      a data URL or a path
    {"type": "image", "image": "a.png"}                                           Qwen-VL; also path, url and base64
    {"type": "image"}, {"type": "image", "index": 0}                              the next image of the column images, or one by its number
    {"type": "video", "video": "clip.mp4"}                                        one, instead of images

Images are never fetched from the network. FineVision's pairs ``texts: [{"user", "assistant"}]`` are read as well, and so are lists of
texts, which the user and the assistant write in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vicur.data.formats.columns import PUBLIC
from vicur.data.formats.conversations import image_columns, image_list, video_of
from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import RowLayout
from vicur.data.formats.turns import ROLES, Turn, answered, paired, pairs
from vicur.data.schema import Fault, UnusableRowError

_LISTS = ("messages", "texts")
_MARKER, _VIDEO_MARKER = "<image>", "<video>"
_VIDEO_PARTS = ("video", "video_url", "input_video")
_SOURCES = ("image", "image_url", "path", "url", "base64")


@dataclass(frozen=True)
class Place:
    """The place of an image that the column ``images`` has: the next one, or the one with this index."""

    index: int | None = None


@register
class MessagesFormat(RowLayout):
    """Rows with a list of messages."""

    name = "messages"
    description = "OpenAI's messages (role, content) with text or parts, and FineVision's texts (user, assistant)"
    identified_by = (frozenset({"messages"}), frozenset({"texts", "images"}))

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        field = next(name for name in _LISTS if name in row)
        images = image_list(row)
        turns, inline, videos = turns_and_images(row[field], field)
        if any(isinstance(each, Place) for each in inline):
            images, inline = placed_images(inline, images), []
        if images and inline:
            raise UnusableRowError(
                "images", "has images, but the messages contain images as well", "Write them in one place."
            )
        column = None if images or inline else video_of(row)
        if len(videos) > 1 or (videos and (images or inline or column is not None)):
            raise UnusableRowError(field, "has a video besides others or images", "Ask about one video.")
        turns, used = answered(turns, row)
        kept = {key: value for key, value in row.items() if key not in (field, "id", *image_columns(row), *used)}
        video = videos[0] if videos else column
        if video is not None:
            kept = {key: value for key, value in kept.items() if key not in PUBLIC["video"]} | {"video": video}
        for pair in pairs(turns, images or inline, row.get("id"), field):
            yield pair.columns if isinstance(pair.columns, Fault) else {**kept, **pair.columns}


def turns_and_images(value: Any, field: str) -> tuple[list[Turn], list[Any], list[Any]]:
    """Return the turns of a list of messages, and the images (or their places) and videos that are parts of them.

    Raises:
        UnusableRowError: if it is not a list of messages.
    """
    if not isinstance(value, list):
        raise UnusableRowError(field, "is not a list of messages", 'Write [{"role": "user", "content": "..."}, ...].')
    if value and all(isinstance(message, str) for message in value):
        return [Turn("assistant" if place % 2 else "user", text) for place, text in enumerate(value)], [], []
    turns: list[Turn] = []
    images: list[Any] = []
    videos: list[Any] = []
    for place, message in enumerate(value):
        where = f"{field}[{place}]"
        if (both := paired(message)) is not None:
            turns += [Turn(turn.role, _text(turn.text, where)) for turn in both]
        elif isinstance(message, dict) and isinstance(message.get("role"), str):
            text, found = _content(message.get("content"), f"{where}.content", videos)
            turns.append(Turn(message["role"], text))
            images += found
        else:
            raise UnusableRowError(where, "is not a message with a role", 'Write {"role": "user", "content": "..."}.')
    return turns, images, videos


def placed_images(inline: Sequence[Any], images: Sequence[Any]) -> list[Any]:
    """Return the images of a conversation in the order in which its parts show them.

    Args:
        inline: images, or their places among ``images``, as :func:`turns_and_images` returns them.

    Raises:
        UnusableRowError: if the places and the images do not match.
    """
    places = [each for each in inline if isinstance(each, Place)]
    if not places:
        if images:
            raise UnusableRowError(
                "images", "has images, but the messages contain images as well", "Write them in one place."
            )
        return list(inline)
    indices = [number if each.index is None else each.index for number, each in enumerate(places)]
    if sorted(indices) != list(range(len(images))) or len(places) < len(inline):
        raise UnusableRowError(
            "images",
            f"the messages have {len(places)} places of images, but the row has {len(images)}",
            "Write one part of type image for each image.",
        )
    return [images[index] for index in indices]


def is_conversation(value: Any) -> bool:
    """Return whether a value is a list of messages with roles."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) and "role" in each for each in value)


def last_reply(value: Any, field: str) -> Any:
    """Return the text of a message, or of the last one of a list, if it is the assistant's. Other values are returned unchanged."""
    message = value[-1] if is_conversation(value) else value
    if not isinstance(message, dict):
        return value
    if isinstance(message.get("value"), str) and "from" in message:
        return message["value"]
    if ROLES.get(str(message.get("role"))) != "assistant":
        return value
    return _content(message.get("content"), field, [])[0]


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise UnusableRowError(field, "is not text", "Write the message as text.")
    return value


def _content(content: Any, field: str, videos: list[Any]) -> tuple[str, list[Any]]:
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise UnusableRowError(field, "is neither text nor a list of parts", 'Write [{"type": "text", "text": "..."}].')
    texts: list[str] = []
    images: list[Any] = []
    for place, part in enumerate(content):
        if isinstance(part, dict) and part.get("type") in _VIDEO_PARTS:
            videos.append(_video(part, f"{field}[{place}]"))
            texts.append(_VIDEO_MARKER)
            continue
        image = _image(part, f"{field}[{place}]")
        if image is None:
            texts.append(_text(part.get("text") if isinstance(part, dict) else part, f"{field}[{place}]"))
        else:
            images.append(image)
            texts.append(_MARKER)
    # Images before all text need no markers.
    is_leading = texts[: len(images)] == [_MARKER] * len(images)
    return "\n".join(texts[len(images) :] if is_leading else texts), images


def _video(part: dict[str, Any], field: str) -> Any:
    video = part.get("video") or part.get("video_url")
    if isinstance(video, dict) and "url" in video:
        video = video["url"]
    if not video:
        raise UnusableRowError(field, "has no video", 'Write {"type": "video", "video": "clip.mp4"}.')
    return video.removeprefix("file://") if isinstance(video, str) else video


def _image(part: Any, field: str) -> Any:
    """Return the image of a part, or ``None`` for a text."""
    kind = part.get("type") if isinstance(part, dict) else "text"
    if kind in ("text", "input_text", "output_text"):
        return None
    if kind not in ("image", "image_url", "input_image"):
        raise UnusableRowError(field, f"is a part of type {kind!r}", "Use parts of type text and image_url.")
    image = next((part[name] for name in _SOURCES if part.get(name)), None)
    if isinstance(image, dict) and "url" in image:
        image = image["url"]
    if not image and kind != "image":
        raise UnusableRowError(field, f"is a part of type {kind!r} without an image", "Write its data URL or path.")
    if not image:
        index = part.get("index")
        return Place(index if type(index) is int else None)
    return image.removeprefix("file://") if isinstance(image, str) else image
