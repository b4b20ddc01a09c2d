"""Synthetic questions about synthetic images, which the builders of :mod:`tests.data.layouts` write in the layouts of public datasets."""

from __future__ import annotations

import base64
import io
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 48
_BLOCKS = 6


@lru_cache(maxsize=512)
def picture(number: int) -> Image.Image:
    """Return an image of random colour blocks. Images of different numbers are perceptually different."""
    colours = np.random.default_rng(number).integers(256, size=(_BLOCKS, _BLOCKS, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def encoded(number: int, kind: str = "PNG") -> bytes:
    """Return the file of :func:`picture`."""
    buffer = io.BytesIO()
    picture(number).save(buffer, kind)
    return buffer.getvalue()


def base64_text(number: int) -> str:
    return base64.b64encode(encoded(number)).decode()


def put_picture(path: Path, number: int) -> None:
    """Write :func:`picture` to a PNG or JPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(number, "JPEG" if path.suffix in (".jpg", ".jpeg") else "PNG"))


def shows(data: bytes, number: int) -> bool:
    """Return whether an image file shows :func:`picture`, up to the error of JPEG."""
    with Image.open(io.BytesIO(data)) as image:
        if image.size != (SIDE, SIDE):
            return False
        # Centres of the blocks: JPEG blurs their edges.
        step = SIDE // _BLOCKS
        points = [(x * step + step // 2, y * step + step // 2) for x in range(_BLOCKS) for y in range(_BLOCKS)]
        seen, wanted = image.convert("RGB"), picture(number)
        errors = [
            abs(a - b) for point in points for a, b in zip(seen.getpixel(point), wanted.getpixel(point), strict=True)
        ]
        return sum(errors) / len(errors) < 40


@dataclass(frozen=True)
class Item:
    """One synthetic question. ``split`` is the name of our split that it must end up in."""

    number: int
    split: str

    @property
    def question(self) -> str:
        return f"What is the sum of {self.number} and {self.number % 7 + 1}?"

    @property
    def answer(self) -> str:
        return str(self.number + self.number % 7 + 1)

    @property
    def place(self) -> int:
        """Return the index of the right choice."""
        return self.number % 4

    @property
    def letter(self) -> str:
        return string.ascii_uppercase[self.place]

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(str(int(self.answer) + 3 * (place - self.place)) for place in range(4))

    @property
    def rationale(self) -> str:
        return f"Add {self.number % 7 + 1} to {self.number}."


@dataclass(frozen=True)
class Expected:
    """What a row must become. ``None`` stands for a value that the layout does not state."""

    question: str
    answer: str
    split: str | None
    images: tuple[int, ...]
    """Numbers of the pictures, in order."""
    choices: tuple[str, ...] = ()
    rationale: str | None = None
    id: str | None = None
    group: str | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    """Part of the metadata."""


def items(count: int, splits: Sequence[str] = ("distill", "validation", "test")) -> list[Item]:
    """Return ``count`` items for each split."""
    return [Item(number=100 * (place + 1) + k, split=split) for place, split in enumerate(splits) for k in range(count)]


def lettered(choices: Sequence[str], sign: str = ".") -> str:
    """Return the choices as lettered lines."""
    return "\n".join(
        f"{letter}{sign} {choice}" for letter, choice in zip(string.ascii_uppercase, choices, strict=False)
    )


def of_split(items: list[Item], split: str) -> list[Item]:
    """Return the items of a split."""
    return [item for item in items if item.split == split]


def plain(item: Item, **more: Any) -> Expected:
    """Return what is read from a layout that keeps question, answer, split and image."""
    return Expected(
        **{"question": item.question, "answer": item.answer, "split": item.split, "images": (item.number,), **more}
    )


def chosen(item: Item, **more: Any) -> Expected:
    return plain(item, **{"answer": item.letter, "choices": item.choices, **more})
