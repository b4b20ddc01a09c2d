"""The content of a benchmark's prompt: stored exactly as parts, and as a question for people and for other readers of the dataset.

The question marks the places of images with ``<image 1>``, and cannot express every content: a marker inside backticks is text. The parts
can, so benchmarks are answered from the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.prompts import Content, ImagePart, VideoPart
from vicur.prompts.markers import escaped
from vicur.prompts.parts import merged

KEY = "benchmark"
"""Key of an example's ``metadata`` with the name of the benchmark, the row's index and columns, and the parts."""


def used_images(parts: Sequence[str | int]) -> tuple[list[int], list[str | int]]:
    """Return the images that a content shows, in the order of their first use, and the content with their new numbers."""
    places: dict[int, int] = {}
    numbers = count()
    renumbered: list[str | int] = []
    for part in parts:
        if isinstance(part, int) and part not in places:
            places[part] = next(numbers)
        renumbered.append(places[part] if isinstance(part, int) else part)
    return list(places), renumbered


def question_of(parts: Sequence[str | int], *, is_video: bool = False) -> str:
    """Return the text of a dataset's question for a content whose images are numbered from 0."""
    images = [part for part in parts if isinstance(part, int)]
    texts = [part for part in parts if isinstance(part, str)]
    if is_video or ([*images, *texts] == [*parts] and images == list(range(len(images)))):
        # Images without markers come before the text.
        return "".join(escaped(text, is_video=is_video) for text in texts)
    return "".join(f"<image {part + 1}>" if isinstance(part, int) else escaped(part) for part in parts)


def content_of_parts(example: Example) -> Content:
    """Return the content of the prompt of a staged example.

    Raises:
        VicurError: if the dataset is not a staged benchmark.
    """
    record: Any = example.metadata.get(KEY)
    parts = record.get("parts") if isinstance(record, dict) else None
    visuals = example.visuals
    if not isinstance(parts, list) or not all(
        isinstance(part, str) or (isinstance(part, int) and not isinstance(part, bool) and 0 <= part < visuals)
        for part in parts
    ):
        raise VicurError(
            "has no content of a benchmark's prompt.",
            where=f"example {example.id}, metadata.{KEY}.parts",
            remedy="Use a dataset that vicur benchmarks stage has written.",
        )
    place = VideoPart() if example.video is not None else None
    return merged(part if isinstance(part, str) else place or ImagePart(part) for part in parts)
