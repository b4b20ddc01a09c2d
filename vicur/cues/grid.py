"""Finds coloured digits on a dark, noisy background and the grid that they stand in.

Nothing is known beforehand but what colours there are: neither how many rows and columns an image has nor what stands
where. All is counted in whole numbers, or in single float operations that IEEE 754 rounds the same way everywhere, so
that what is found in an image does not depend on the processor.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""By how much each channel of a colour's ink exceeds the background."""

PATCH = 16
"""Side of the square that a digit is scaled to before it is read."""

# A pixel of a cell is ink where it stands out at least this much of what the cell's strongest pixels do, in percent.
_INK_PERCENT = 50
# The strongest pixels of a cell: so many percent of them.
_STRONGEST_PERCENT = 2
_SMALLEST_CELL = 8
_LONGEST_SIDE = 2048


class UnreadableError(Exception):
    """An image that cannot be read. Its message is the reason, the same one for all images that share it."""


@dataclass(frozen=True)
class FoundDigit:
    """A digit that was found, not yet read.

    Attributes:
        colour: name of its colour.
        patch: [PATCH, PATCH], its ink, 0..255, centred.
    """

    colour: str
    patch: NDArray[np.uint8]


@dataclass(frozen=True)
class Cell:
    """One cell of an even grid over an image.

    Attributes:
        top, left, height, width: where it lies, in pixels.
        ink: [height, width], which pixels stand out.
        total: [3], sum of the ink's signal.
        strength: sum of the lengths of the ink's signal.
    """

    top: int
    left: int
    height: int
    width: int
    ink: NDArray[np.bool_]
    total: NDArray[np.int64]
    strength: int


def decode(image: bytes) -> NDArray[np.int64]:
    """Pixels [H, W, 3] of an encoded image, 0..255.

    Raises:
        UnreadableError: where it is no image, or one far larger than a grid of digits.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            if max(opened.size) > _LONGEST_SIDE:
                raise UnreadableError(f"the image is more than {_LONGEST_SIDE} pixels wide or high")
            return np.asarray(opened.convert("RGB"), dtype=np.int64)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableError("the image cannot be decoded") from error


def signal(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """By how much each pixel [H, W, 3] differs from the background, which is the median of each channel."""
    flat = pixels.reshape(-1, 3)
    return np.asarray(pixels - np.sort(flat, axis=0)[len(flat) // 2])


def cells(signal_HW3: NDArray[np.int64], rows: int, columns: int) -> list[list[Cell]]:
    """Parts an image into an even grid of cells, row by row. Pixels that are left over stay out."""
    height, width = signal_HW3.shape[0] // rows, signal_HW3.shape[1] // columns
    return [
        [_cell(signal_HW3, row * height, column * width, height, width) for column in range(columns)]
        for row in range(rows)
    ]


def find_digits(pixels: NDArray[np.int64], palette: Mapping[str, Colour]) -> list[list[FoundDigit]]:
    """Finds the digits of an image, row by row.

    The grid is the finest even one in which every cell has ink and no two cells have the same colour: a coarser one
    mixes colours in a cell, a finer one parts a digit. Of several, the one whose cells are of one colour each most
    clearly.

    Args:
        pixels: [H, W, 3], 0..255.
        palette: the colours that there may be, by name.

    Raises:
        UnreadableError: where there is no such grid.
    """
    excess = signal(pixels)
    names = list(palette)
    colours = np.array([palette[name] for name in names], dtype=np.int64)
    for shapes in _shapes(excess.shape[:2], len(names)):
        grids = []
        for shape in shapes:
            grid = cells(excess, *shape)
            flat = [cell for line in grid for cell in line]
            seen = [int(_nearest(cell.total, colours)) for cell in flat]
            if len(set(seen)) == len(flat) and all(cell.strength for cell in flat):
                grids.append((_purity(flat), shape, grid))
        if grids:
            _, _, grid = max(grids, key=lambda found: found[:2])
            nearest = _nearest(excess, colours)
            return [[_digit(excess, nearest, cell, names, colours) for cell in line] for line in grid]
    raise UnreadableError("nothing stands out from the background")


def _shapes(size: tuple[int, ...], most: int) -> Iterator[list[tuple[int, int]]]:
    """Rows and columns of the grids with ``most`` cells, then of those with one cell less, and so on."""
    for count in range(most, 0, -1):
        shapes = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
        yield [(r, c) for r, c in shapes if size[0] // r >= _SMALLEST_CELL and size[1] // c >= _SMALLEST_CELL]


def _cell(excess: NDArray[np.int64], top: int, left: int, height: int, width: int) -> Cell:
    inside = excess[top : top + height, left : left + width]
    squared = np.sum(np.square(inside), axis=-1)
    strongest = int(np.sort(squared, axis=None)[-max(1, squared.size * _STRONGEST_PERCENT // 100)])
    ink = (squared * 100**2 >= strongest * _INK_PERCENT**2) & (squared > 0)
    strength = int(np.sum(np.sqrt(squared[ink]).astype(np.int64)))
    return Cell(top, left, height, width, ink, inside[ink].sum(axis=0), strength)


def _nearest(signal_N3: NDArray[np.int64], colours: NDArray[np.int64]) -> NDArray[np.intp]:
    """Index [N] of the colour [C, 3] whose direction is nearest to that of each signal."""
    # The signal's own length is the same for all colours. Square roots and quotients are exactly rounded everywhere.
    nearest: NDArray[np.intp] = np.argmax(
        (signal_N3 @ colours.T) / np.sqrt(np.sum(np.square(colours), axis=1)), axis=-1
    )
    return nearest


def _purity(flat: list[Cell]) -> float:
    """How far the ink of each cell points in one direction; 1 where all of it does."""
    lengths = [int(cell.total @ cell.total) ** 0.5 for cell in flat]
    return sum(map(int, lengths)) / sum(cell.strength for cell in flat)


def _digit(
    excess: NDArray[np.int64],
    nearest: NDArray[np.intp],
    cell: Cell,
    names: list[str],
    colours: NDArray[np.int64],
) -> FoundDigit:
    """Cuts a cell's worth around the digit's middle: the signal along its colour, scaled to [PATCH, PATCH].

    Args:
        excess: [H, W, 3], signal of the image.
        nearest: [H, W], index of the colour that each pixel is nearest to.
        cell: where the digit stands.
        names: of the colours.
        colours: [C, 3].
    """
    from PIL import Image

    own = int(_nearest(cell.total, colours))
    direction = colours[own]
    window = np.s_[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
    # A palette's colour is the mean of its ink, and full ink is not twice as strong.
    ink = np.clip(excess @ direction * 128 // int(direction @ direction), 0, 255)
    others = nearest != own
    others[window] = False
    ink[others] = 0  # a neighbour's

    weight = ink[window] * (cell.ink & (nearest[window] == own))
    middle_row, middle_column = (_mean_position(weight.sum(axis=axis)) for axis in (1, 0))
    top, left = cell.top + middle_row - cell.height // 2, cell.left + middle_column - cell.width // 2
    padded = np.pad(ink, ((cell.height, cell.height), (cell.width, cell.width))).astype(np.uint8)
    cut = padded[top + cell.height : top + 2 * cell.height, left + cell.width : left + 2 * cell.width]
    return FoundDigit(names[own], np.asarray(Image.fromarray(cut).resize((PATCH, PATCH), Image.Resampling.BOX)))


def _mean_position(weights: NDArray[np.int64]) -> int:
    """Mean index under whole-number weights, to the nearest index."""
    total = max(1, int(weights.sum()))
    return (2 * int(weights @ np.arange(len(weights))) + total) // (2 * total)
