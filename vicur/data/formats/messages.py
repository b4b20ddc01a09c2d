"""Conversations in OpenAI's form: ``messages`` is a list of ``{"role": "user" | "assistant" | "system", "content": ...}``.

``content`` is a text, which may contain markers ``<image>`` for the column ``images`` (ms-swift, LLaMA-Factory), or a list of parts:

    {"type": "text", "text": "What is x?"}
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}      a data URL or a path
    {"type": "image", "image": "a.png"}                                           Qwen-VL
    {"type": "video", "video": "clip.mp4"}                                        one, instead of images

Images are never fetched from the network. FineVision's pairs ``texts: [{"user", "assistant"}]`` are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.columns import PUBLIC
from vicur.data.formats.conversations import image_list, video_of
from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import RowLayout
from vicur.data.formats.turns import Turn, pairs
from vicur.data.schema import Fault, UnusableRowError

_LISTS = ("messages", "texts")
_MARKER, _VIDEO_MARKER = "<image>", "<video>"
_VIDEO_PARTS = ("video", "video_url", "input_video")


@register
class MessagesFormat(RowLayout):
    """Rows with a list of messages."""

    name = "messages"
    description = "OpenAI's messages (role, content) with text or parts, and FineVision's texts (user, assistant)"
    identified_by = (frozenset({"messages"}), frozenset({"texts", "images"}))

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        field = next(name for name in _LISTS if name in row)
        images = image_list(row)
        turns, inline, videos = _turns(row[field], field)
        if images and inline:
            raise UnusableRowError(
                "images", "has images, but the messages contain images as well", "Write them in one place."
            )
        column = None if images or inline else video_of(row)
        if len(videos) > 1 or (videos and (images or inline or column is not None)):
            raise UnusableRowError(field, "has a video besides others or images", "Ask about one video.")
        kept = {key: value for key, value in row.items() if key not in (field, "image", "images", "id")}
        video = videos[0] if videos else column
        if video is not None:
            kept = {key: value for key, value in kept.items() if key not in PUBLIC["video"]} | {"video": video}
        for pair in pairs(turns, images or inline, row.get("id"), field):
            yield pair.columns if isinstance(pair.columns, Fault) else {**kept, **pair.columns}


def _turns(value: Any, field: str) -> tuple[list[Turn], list[Any], list[Any]]:
    """Return the turns, and the images and videos that are parts of them."""
    if not isinstance(value, list):
        raise UnusableRowError(field, "is not a list of messages", 'Write [{"role": "user", "content": "..."}, ...].')
    turns: list[Turn] = []
    images: list[Any] = []
    videos: list[Any] = []
    for place, message in enumerate(value):
        where = f"{field}[{place}]"
        if isinstance(message, dict) and "user" in message and "assistant" in message:
            turns += [Turn(role, _text(message[role], where)) for role in ("user", "assistant")]
        elif isinstance(message, dict) and isinstance(message.get("role"), str):
            text, found = _content(message.get("content"), f"{where}.content", videos)
            turns.append(Turn(message["role"], text))
            images += found
        else:
            raise UnusableRowError(where, "is not a message with a role", 'Write {"role": "user", "content": "..."}.')
    return turns, images, videos


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
    image = part.get("image") or part.get("image_url")
    if isinstance(image, dict) and "url" in image:
        image = image["url"]
    if kind not in ("image", "image_url", "input_image") or not image:
        raise UnusableRowError(field, f"is a part of type {kind!r}", "Use parts of type text and image_url.")
    return image.removeprefix("file://") if isinstance(image, str) else image
