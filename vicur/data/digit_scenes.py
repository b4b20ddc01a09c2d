"""The embedded dataset: scenes of handwritten digits, with questions that require reading and reasoning.

A scene is a grid of 2 x 3 digits in six colours. The handwriting is scikit-learn's ``load_digits`` (1,797 images of 8 x 8 pixels, from the
UCI optical digits), which is installed anyway. The splits use disjoint sets of digit images. These do not depend on the seed, because the
shipped base model was trained on the base pool and must not be tested on it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vicur.config.data import DigitScenesConfig, Pool
from vicur.data.png import encode_png
from vicur.data.rendering import COLOURS, COLUMNS, ROWS, integers, render_scene
from vicur.data.scene_text import (
    DESCRIBE_QUESTION,
    KINDS,
    Question,
    Scene,
    candidate_questions,
    combined,
    describe,
    vocabulary,
)
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.seeds import numpy_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DESCRIBE_QUESTION", "DigitPool", "build_pools", "describe", "digit_pools", "generate", "vocabulary"]

_HANDWRITING = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
_CLASSES = 10
T = TypeVar("T")


@dataclass(frozen=True)
class DigitPool:
    """The handwriting of one split."""

    ids: NDArray[np.int64]  # [N], indices in load_digits
    images: NDArray[np.uint8]  # [N, 8, 8], ink from 0 to 16
    labels: NDArray[np.uint8]  # [N], 0 to 9


def digit_pools(config: DigitScenesConfig) -> dict[str, DigitPool]:
    """Divide the digit images into disjoint, balanced pools, the same for every seed."""
    images, labels = _handwriting()
    # Not the root seed: which handwriting a pool has must be the same in every dataset.
    rng = numpy_generator(0, "data", "digit_pools")
    by_class = [_shuffled(np.flatnonzero(labels == digit).tolist(), rng) for digit in range(_CLASSES)]
    pools = {}
    start = 0
    for split, pool in config.pools.items():
        end = start + pool.digits_per_class
        ids = np.array(sorted(i for members in by_class for i in members[start:end]), dtype=np.int64)
        pools[split] = DigitPool(ids, images[ids], labels[ids])
        start = end
    return pools


def build_pools(config: DigitScenesConfig, seed: int) -> dict[str, list[Example]]:
    """Generate the examples of every split in memory."""
    pools: dict[str, list[Example]] = {split: [] for split in config.pools}
    for example in generate(config, seed):
        pools[example.split].append(example)
    return pools


def generate(config: DigitScenesConfig, seed: int) -> Iterator[Example]:
    """Yield the examples of :func:`build_pools` one by one, split by split."""
    for split, handwriting in digit_pools(config).items():
        yield from _generate_split(split, handwriting, config.pools[split], config.together, seed)


def _generate_split(split: str, handwriting: DigitPool, pool: Pool, together: int, seed: int) -> Iterator[Example]:
    kind_counts: Counter[str] = Counter()
    answer_counts: Counter[tuple[str, int]] = Counter()
    for place in range(pool.scenes):
        group = f"{split}-{place:05d}"
        # An image depends only on seed, split and number. Its questions also depend on earlier ones, through the counts.
        rng = numpy_generator(seed, "data", "scene", split, place)
        scene, image = _draw_scene(handwriting, pool, rng)
        chosen = _choose_questions(scene, max(pool.questions, together), kind_counts, answer_counts, rng)
        for number, question in enumerate(chosen[: pool.questions]):
            if together > 1:
                # The question of this example comes last, because the last answer of a response counts.
                others = [*chosen[:number], *chosen[number + 1 :]][: together - 1]
                yield _example(combined([*others, question], scene), scene, image, group, split)
            else:
                yield _example(question, scene, image, group, split)


def _draw_scene(handwriting: DigitPool, pool: Pool, rng: np.random.Generator) -> tuple[Scene, bytes]:
    picks = integers(rng, 0, len(handwriting.ids) - 1, size=ROWS * COLUMNS)
    colours = _shuffled(list(COLOURS), rng)
    scene = Scene(
        digits=_grid(handwriting.labels[picks].tolist()),
        colours=_grid(colours),
        digit_ids=_grid(handwriting.ids[picks].tolist()),
    )
    return scene, encode_png(render_scene(handwriting.images[picks], colours, pool.distortion, rng))


def _choose_questions(
    scene: Scene,
    count: int,
    kind_counts: Counter[str],
    answer_counts: Counter[tuple[str, int]],
    rng: np.random.Generator,
) -> list[Question]:
    """Choose the least frequent kinds so far, and for each the question with its least frequent answer. Update both counts.

    This balances the kinds, and makes guessing the most common answer useless. Ties are broken at random.
    """
    chosen: list[Question] = []
    for kind in sorted(_shuffled(list(KINDS), rng), key=kind_counts.__getitem__):
        if len(chosen) == count:
            break
        candidates = _shuffled(candidate_questions(scene, kind), rng)
        if not candidates:
            continue
        rarest = min(candidates, key=lambda candidate: answer_counts[kind, candidate.answer])
        kind_counts[kind] += 1
        answer_counts[kind, rarest.answer] += 1
        chosen.append(rarest.question())
    return chosen


def _example(question: Question, scene: Scene, image: bytes, group: str, split: str) -> Example:
    return Example(
        id=f"{group}-{question.kind}",
        images=(image,),
        question=question.question,
        answer=question.answer,
        rationale=question.step,
        cue=question.cue,
        source="digit_scenes",
        split=split,
        metadata={
            "group": group,
            "kind": question.kind,
            "scene": scene.as_metadata(),
            "reference": question.reference,
            "evidence": list(question.evidence),
        },
    )


def _handwriting() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    # Images [1797, 8, 8] and labels [1797]. scikit-learn takes a second to import.
    from sklearn.datasets import load_digits

    bunch: Mapping[str, NDArray[np.float64]] = load_digits()
    images, labels = bunch["images"].astype(np.uint8), bunch["target"].astype(np.uint8)
    if hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() != _HANDWRITING:
        raise VicurError(
            "the installed scikit-learn has other images in load_digits than those of the digit scenes.",
            where="data.type=digit_scenes",
            remedy="Install the release of scikit-learn that is listed in constraints.txt.",
        )
    return images, labels


def _shuffled(items: list[T], rng: np.random.Generator) -> list[T]:
    # Fisher-Yates with explicit draws, because numpy may change the algorithm of shuffle() between releases.
    items = list(items)
    lasts = np.arange(len(items) - 1, 0, -1)
    for last, pick in zip(lasts.tolist(), integers(rng, 0, lasts, size=len(lasts)).tolist(), strict=True):
        items[last], items[pick] = items[pick], items[last]
    return items


def _grid(items: list[T]) -> tuple[tuple[T, ...], ...]:
    return tuple(tuple(items[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS))
