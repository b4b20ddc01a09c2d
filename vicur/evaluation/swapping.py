"""Give each question the images of a question about another scene."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from vicur.data.schema import Example
from vicur.seeds import numpy_generator


@dataclass(frozen=True)
class _Shown:
    """What a question shows, without its images."""

    group: str
    images: bytes  # digest
    form: Hashable  # only questions of one form can exchange their images


def swapped_rows(questions: Sequence[Example], rows: Sequence[int], seed: int, name: str) -> dict[int, int]:
    """Return for each row the row whose images replace its own. Reads each of the questions once.

    The rows are permuted so that no question gets images of its own group, or the same images from another one. If a group holds more than
    half of the rows, no such permutation exists, and some images are shown to several questions. Images are exchanged between questions
    with equally many, and videos among themselves; a question for which there is none is left out, as is one without images.

    Args:
        rows: the questions to answer.
        seed: root seed; the substream is ``swap`` and ``name``.
    """
    shown = {row: _shown(questions[row]) for row in rows}
    swapped: dict[int, int] = {}
    for form in sorted({repr(each.form) for each in shown.values() if each.form}):
        swapped |= _swapped({row: each for row, each in shown.items() if repr(each.form) == form}, seed, name)
    return dict(sorted(swapped.items()))


def with_images_of(example: Example, other: Example) -> Example:
    """Return a question with the images of another one, under its own id."""
    metadata = {key: value for key, value in example.metadata.items() if key != "video"}
    if "video" in other.metadata:
        metadata["video"] = other.metadata["video"]
    # The group of a question without a named one follows from its images, which must not change it.
    return example.model_copy(update={"images": other.images, "metadata": {**metadata, "group": example.group}})


def _shown(example: Example) -> _Shown:
    images = hashlib.sha256(b"".join(hashlib.sha256(image).digest() for image in example.images)).digest()
    form = ("video" if example.video is not None else "images", example.visuals) if example.images else None
    return _Shown(example.group, images, form)


def _swapped(shown: dict[int, _Shown], seed: int, name: str) -> dict[int, int]:
    rng = numpy_generator(seed, "swap", name)
    order = [list(shown)[n] for n in rng.permutation(len(shown))]
    by_group: dict[str, list[int]] = {}
    for row in order:
        by_group.setdefault(shown[row].group, []).append(row)
    # With groups side by side, moving by the size of the largest one leaves every group.
    arranged = [row for group in by_group.values() for row in group]
    step = max(map(len, by_group.values()))
    swapped = {}
    for place, row in enumerate(arranged):
        other = arranged[(place + step) % len(arranged)]
        if not _differ(shown[row], shown[other]):
            others = [each for each in arranged if _differ(shown[row], shown[each])]
            if not others:
                continue
            other = others[int(rng.integers(len(others)))]
        swapped[row] = other
    return swapped


def _differ(one: _Shown, other: _Shown) -> bool:
    return one.group != other.group and one.images != other.images
