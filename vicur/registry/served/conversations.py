"""OpenAI's chat messages as a row: one user message of texts and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicur.errors import VicurError
from vicur.prompts import Content, ImagePart, merged

_REMEDY = (
    'Send one user message: {"role": "user", "content": [{"type": "text", "text": "..."}, '
    '{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}]}.'
)
_TEXTS = ("text", "input_text")


def content_of_messages(messages: Any, system: str | None) -> tuple[Content, list[object]]:
    """Return what a conversation shows, and its images in their order.

    A student answers one question and was trained with one system message. Other conversations are refused.

    Args:
        messages: the messages.
        system: system message that the student was trained with. A request may repeat it.

    Raises:
        VicurError: if the messages have another form; it names the message.
    """
    if not isinstance(messages, list | tuple) or not all(isinstance(each, Mapping) for each in messages):
        raise _refused("messages", "is not a list of messages")
    asked = [(number, each) for number, each in enumerate(messages, 1) if each.get("role") != "system"]
    for number, each in enumerate(messages, 1):
        place = f"message {number}"
        match each.get("role"):
            case "system":
                texts, images = _parts(each.get("content"), place)
                if images or "".join(map(str, texts)) != (system or ""):
                    raise _refused(place, "is another system message than the student was trained with")
            case "user":
                pass
            case role:
                raise _refused(place, f"has the role {role!r:.40}, but the student answers one question of a user")
    if len(asked) != 1:
        raise _refused("messages", f"contains {len(asked)} messages of the user, but the student answers one question")
    [(number, message)] = asked
    parts, images = _parts(message.get("content"), f"message {number}")
    content = merged(parts)
    if not any(isinstance(part, str) and part.strip() for part in content):
        raise _refused(f"message {number}", "has no text")
    return content, images


def _parts(content: Any, place: str) -> tuple[list[str | ImagePart], list[object]]:
    if isinstance(content, str):
        return [content], []
    if not isinstance(content, list | tuple):
        raise _refused(place, "has no content")
    parts: list[str | ImagePart] = []
    images: list[object] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXTS and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, Mapping) else image
            # A file name would be a surprise in a field for addresses.
            if not isinstance(url, str) or url[:5].lower() != "data:":
                raise _refused(place, "has an image that is not a data: URL; other addresses are not fetched")
            parts.append(ImagePart(len(images)))
            images.append(url)
        else:
            raise _refused(place, f"has a part of type {kind!r:.40}, but only text and image_url are supported")
    return parts, images


def _refused(where: str, problem: str) -> VicurError:
    return VicurError(f"{problem}.", where=where, remedy=_REMEDY)
