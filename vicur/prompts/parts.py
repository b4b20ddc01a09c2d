"""Parts of a prompt's content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ImagePart:
    """The place of an image."""

    index: int  # of the image among those of the example, from 0


@dataclass(frozen=True)
class VideoPart:
    """The place of the example's video."""


Part = str | ImagePart | VideoPart
Content = tuple[Part, ...]
"""Texts, images and videos in the order in which a prompt shows them."""


def merged(parts: Iterable[Part]) -> Content:
    """Join neighbouring texts and drop empty ones, so that equal content is tokenized equally."""
    content: list[Part] = []
    for part in parts:
        if isinstance(part, str) and content and isinstance(content[-1], str):
            content[-1] += part
        elif part != "":
            content.append(part)
    return tuple(content)


def with_text(content: Content, text: str) -> Content:
    """Return the content followed by ``text``."""
    return merged((*content, text))
