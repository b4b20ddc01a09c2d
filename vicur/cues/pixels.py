"""Read the cue of a digit scene off its pixels.

The cue is a function of image and question alone, S = f(X). The colours and the shapes of digits are learned beforehand from scenes of the
base and distillation pools; the layout is detected in each image. The cue states only the evidence that the question needs, in the
wording of the dataset's annotations.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Self, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from vicur.cues.digit_reader import DigitReader
from vicur.cues.grid import Colour, Digits, UnreadableError, cells, decode, find_digits, signal
from vicur.cues.providers import NoCue
from vicur.data.rendering import COLOURS
from vicur.data.scene_text import COLUMN_NAMES, KINDS, ROW_NAMES
from vicur.errors import VicurError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicur.data.schema import Example

# The few colours look much the same in all scenes, so this many scenes are enough to learn them.
_PALETTE_SCENES = 300
# Images of so many examples are read together. Examples of a dataset often follow others with the same image.
_EXAMPLES_AT_ONCE = 256

T = TypeVar("T")

_SLOT_VALUES = {"column": COLUMN_NAMES, "row": ROW_NAMES, "first": tuple(COLOURS), "second": tuple(COLOURS)}


@dataclass(frozen=True)
class RecognizedScene:
    """Recognized digits of an image and their colours, row by row."""

    digits: tuple[tuple[int, ...], ...]
    colours: tuple[tuple[str, ...], ...]


class _Truth(BaseModel):
    """Known content of a training scene: ``metadata["scene"]`` of an example."""

    digits: tuple[tuple[Annotated[int, Field(ge=0, le=9)], ...], ...] = Field(min_length=1)
    colours: tuple[tuple[str, ...], ...]

    @model_validator(mode="after")
    def _is_a_grid(self) -> Self:
        widths = {len(row) for row in (*self.digits, *self.colours)}
        if len(self.digits) != len(self.colours) or len(widths) != 1 or 0 in widths:
            raise ValueError("digits and colours must be grids of the same shape")
        return self


class PixelProvider:
    """Cue provider for digit scenes."""

    fitted_on: tuple[str, ...] = ("base", "distill")

    def __init__(self) -> None:
        self.palette: dict[str, Colour] = {}
        self._reader: DigitReader | None = None
        self._detected: dict[bytes, Digits] = {}
        self._scenes: dict[bytes, RecognizedScene | NoCue] = {}

    @property
    def fingerprint(self) -> str:
        """Hash of the known digits."""
        return self._fitted().fingerprint

    def fit(self, examples: Iterable[Example]) -> None:
        """Learn the colours and the digits from scenes with known content.

        Raises:
            VicurError: if none of the examples is such a scene.
        """
        scenes = dict(scene for scene in map(_scene, examples) if scene is not None)
        self.palette = _learn_palette(list(scenes.items())[:_PALETTE_SCENES])
        patches: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        sources: list[bytes] = []
        located = (find_digits(images, self.palette) for images in _batches(scenes))
        for (image, truth), detected in zip(scenes.items(), chain.from_iterable(located), strict=True):
            # Labels can be assigned to patches only if every digit was detected in its true cell.
            if not isinstance(detected, UnreadableError) and _colours(detected) == truth.colours:
                source = _digest(image)
                self._detected[source] = detected
                patches += [digit.patch for line in detected for digit in line]
                labels += [digit for line in truth.digits for digit in line]
                sources += [source] * (len(labels) - len(sources))
        if not patches:
            raise VicurError(
                "there are no digit scenes with known digits and colours to learn from.",
                where=f"dataset, splits {' and '.join(self.fitted_on)}",
                remedy="cues.provider=pixels reads digit scenes only. Set cues.provider=annotation for other datasets.",
            )
        self._reader = DigitReader(np.stack(patches), np.array(labels, dtype=np.uint8), np.array(sources))

    def cues(self, examples: Iterable[Example]) -> Iterator[str | NoCue]:
        """Read the image of each example, in order."""
        for batch in _batches(examples):
            parsed = [_parsed(example) for example in batch]
            self._read_images(
                example.images[0] for example, each in zip(batch, parsed, strict=True) if not isinstance(each, NoCue)
            )
            for example, each in zip(batch, parsed, strict=True):
                yield each if isinstance(each, NoCue) else self._cue(each, example.images[0])

    def cue(self, example: Example) -> str | NoCue:
        """Return the cue of an example. Uses nothing but its image and question."""
        return next(self.cues([example]))

    def _cue(self, question: tuple[str, dict[str, str]], image: bytes) -> str | NoCue:
        scene = self._scenes[_digest(image)]
        return scene if isinstance(scene, NoCue) else cue_for(question, scene)

    def _read_images(self, images: Iterable[bytes]) -> None:
        """Recognize the scenes of images that have not been read before: many examples share an image."""
        reader = self._fitted()
        unread = {source: image for image in images if (source := _digest(image)) not in self._scenes}
        unknown = [source for source in unread if source not in self._detected]
        located = dict(zip(unknown, find_digits([unread[source] for source in unknown], self.palette), strict=True))
        grids: dict[bytes, Digits] = {}
        for source in unread:
            detected = self._detected.get(source) or located[source]
            if isinstance(detected, UnreadableError):
                self._scenes[source] = NoCue(str(detected))
            elif len(detected) != len(ROW_NAMES) or len(detected[0]) != len(COLUMN_NAMES):
                shape = f"{len(ROW_NAMES)} x {len(COLUMN_NAMES)}"
                self._scenes[source] = NoCue(f"no grid of {shape} digits is found in the image")
            else:
                grids[source] = detected
        if grids:
            patches = np.stack([digit.patch for grid in grids.values() for line in grid for digit in line])
            count = len(ROW_NAMES) * len(COLUMN_NAMES)
            digits = reader.read(patches, [source for source in grids for _ in range(count)])
            for number, (source, grid) in enumerate(grids.items()):
                self._scenes[source] = _recognized(grid, digits[number * count : (number + 1) * count])

    def _fitted(self) -> DigitReader:
        if self._reader is None:
            raise RuntimeError("call fit() before requesting cues")
        return self._reader


def _parsed(example: Example) -> tuple[str, dict[str, str]] | NoCue:
    """Return the parsed question, or why the example cannot have a cue whatever its image shows."""
    question = parse_question(example.question)
    if question is None:
        return NoCue("the question is none of those that digit scenes are asked")
    if len(example.images) != 1:
        return NoCue("the example has not exactly one image")
    return question


def _colours(grid: Digits) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(digit.colour for digit in line) for line in grid)


def _recognized(grid: Digits, digits: Sequence[int | None]) -> RecognizedScene | NoCue:
    if None in digits:
        return NoCue("what stands in the grid does not look like digits")
    values = tuple(digit for digit in digits if digit is not None)
    width = len(COLUMN_NAMES)
    return RecognizedScene(
        digits=tuple(values[start : start + width] for start in range(0, len(values), width)), colours=_colours(grid)
    )


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    waiting = iter(items)
    while batch := list(islice(waiting, _EXAMPLES_AT_ONCE)):
        yield batch


def parse_question(question: str) -> tuple[str, dict[str, str]] | None:
    """Return the kind of a question about digit scenes and its row, column or colours, or ``None`` for any other question."""
    text = " ".join(question.split()).casefold()
    for kind, pattern in _PATTERNS.items():
        match = pattern.fullmatch(text)
        if match is not None:
            return kind, match.groupdict()
    return None


def cue_for(question: tuple[str, Mapping[str, str]], scene: RecognizedScene) -> str | NoCue:
    """Return the cue for a parsed question: the evidence that it needs."""
    kind, slots = question
    if "column" in slots:
        column = COLUMN_NAMES.index(slots["column"])
        values = tuple(row[column] for row in scene.digits)
    elif "row" in slots:
        values = scene.digits[ROW_NAMES.index(slots["row"])]
    else:
        digit_of = dict(zip(sum(scene.colours, ()), sum(scene.digits, ()), strict=True))
        if any(colour not in digit_of for colour in slots.values()):
            return NoCue("the image has no digit of a colour that the question names")
        values = (digit_of[slots["first"]], digit_of[slots["second"]])
    return KINDS[kind].cue.format(**slots, **dict(zip("abc", values, strict=False)))


def _question_pattern(template: str) -> re.Pattern[str]:
    parts = []
    for literal, slot, _, _ in Formatter().parse(template):
        parts.append(re.escape(literal.casefold()))
        if slot is not None:
            parts.append(f"(?P<{slot}>{'|'.join(_SLOT_VALUES[slot])})")
    return re.compile("".join(parts))


_PATTERNS = {kind: _question_pattern(texts.question) for kind, texts in KINDS.items()}


def _digest(image: bytes) -> bytes:
    return hashlib.sha256(image).hexdigest()[:32].encode()


def _scene(example: Example) -> tuple[bytes, _Truth] | None:
    """Return an example's image and known content, or ``None`` if its metadata does not describe a scene."""
    if len(example.images) != 1 or "scene" not in example.metadata:
        return None
    try:
        return example.images[0], _Truth.model_validate(example.metadata["scene"])
    except ValidationError:
        return None


def _learn_palette(scenes: Iterable[tuple[bytes, _Truth]]) -> dict[str, Colour]:
    """Compute the mean signal of each colour's ink over all cells with that colour."""
    totals: defaultdict[str, NDArray[np.int64]] = defaultdict(lambda: np.zeros(4, dtype=np.int64))
    for image, truth in scenes:
        try:
            grid = cells(signal(decode(image)[None]), len(truth.colours), len(truth.colours[0]))
        except UnreadableError:
            continue
        sizes = np.count_nonzero(grid.ink, axis=(3, 4))
        for row, names in enumerate(truth.colours):
            for column, name in enumerate(names):
                totals[name] += np.append(grid.total[0, row, column], sizes[0, row, column])
    means = {name: total[:3] // max(1, total[3]) for name, total in sorted(totals.items())}
    return {name: (int(mean[0]), int(mean[1]), int(mean[2])) for name, mean in means.items() if mean.any()}
