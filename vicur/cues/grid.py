"""Detect coloured digits on a dark, noisy background, and the grid that they form.

Only the possible colours are known beforehand, not the number of rows and columns or the position of any digit. All arithmetic uses
integers or single float operations, which IEEE 754 rounds identically everywhere, so the result does not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Mean excess of a colour's ink over the background, by channel.
Colour = tuple[int, int, int]

# Side of the square that a digit is scaled to before it is recognized.
PATCH = 16

# A pixel is ink if its signal is at least _INK_PERCENT of the weakest signal among the strongest _STRONGEST_PERCENT.
_INK_PERCENT = 50
_STRONGEST_PERCENT = 2
_SMALLEST_CELL = 8
_LONGEST_SIDE = 2048


class UnreadableError(Exception):
    """An image that cannot be read. Equal causes have equal messages, so that they can be counted."""


@dataclass(frozen=True)
class DetectedDigit:
    """A digit that was located but not yet recognized."""

    colour: str
    patch: NDArray[np.uint8]  # ink [PATCH, PATCH], 0..255, centred


@dataclass(frozen=True)
class Cell:
    """One cell of an even grid over an image, in pixels."""

    top: int
    left: int
    height: int
    width: int
    ink: NDArray[np.bool_]  # which pixels are ink [height, width]
    total: NDArray[np.int64]  # sum of the ink's signal [3]
    strength: int  # sum of the lengths of the ink's signal


def decode(image: bytes) -> NDArray[np.int64]:
    """Decode an image to pixels [H, W, 3], 0..255, or raise UnreadableError."""
    from vicur.data.images import UnusableImageError, plain_image, plain_size

    try:
        if max(plain_size(image)) > _LONGEST_SIDE:
            raise UnreadableError(f"the image is more than {_LONGEST_SIDE} pixels wide or high")
        return np.asarray(plain_image(image), dtype=np.int64)
    except UnusableImageError as error:
        raise UnreadableError("the image cannot be decoded") from error


def signal(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Subtract the background, the median of each channel, from each pixel [H, W, 3]."""
    flat = pixels.reshape(-1, 3)
    return np.asarray(pixels - np.sort(flat, axis=0)[len(flat) // 2])


def cells(signal_HW3: NDArray[np.int64], rows: int, columns: int) -> list[list[Cell]]:
    """Divide an image into an even grid of cells, row by row. Remaining pixels at the right and bottom are left out."""
    height, width = signal_HW3.shape[0] // rows, signal_HW3.shape[1] // columns
    return [
        [_cell(signal_HW3, row * height, column * width, height, width) for column in range(columns)]
        for row in range(rows)
    ]


def find_digits(pixels: NDArray[np.int64], palette: Mapping[str, Colour]) -> list[list[DetectedDigit]]:
    """Locate the digits of an image [H, W, 3] in the colours of ``palette``, row by row, or raise UnreadableError."""
    # Take the finest even grid in which every cell has ink and no two cells have the same colour: a coarser grid mixes
    # colours in a cell, a finer one splits a digit. Among several, take the one with the purest cells.
    excess = signal(pixels)
    names = list(palette)
    colours = np.array([palette[name] for name in names], dtype=np.int64)
    for shapes in _shapes(excess.shape[:2], len(names)):
        grids = []
        for shape in shapes:
            grid = cells(excess, *shape)
            flat = [cell for line in grid for cell in line]
            nearest_colours = [int(_nearest(cell.total, colours)) for cell in flat]
            if len(set(nearest_colours)) == len(flat) and all(cell.strength for cell in flat):
                grids.append((_purity(flat), shape, grid))
        if grids:
            _, _, grid = max(grids, key=lambda candidate: candidate[:2])
            nearest = _nearest(excess, colours)
            return [[_digit(excess, nearest, cell, names, colours) for cell in line] for line in grid]
    raise UnreadableError("nothing stands out from the background")


def _shapes(size: tuple[int, ...], most: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the shapes (rows, columns) of all grids with ``most`` cells, then with one cell less, and so on."""
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
    """Return the index [N] of the colour [C, 3] whose direction is nearest to that of each signal."""
    # The signal's length is left out because it is the same for all colours. Square roots and quotients are exactly
    # rounded on every machine.
    nearest: NDArray[np.intp] = np.argmax(
        (signal_N3 @ colours.T) / np.sqrt(np.sum(np.square(colours), axis=1)), axis=-1
    )
    return nearest


def _purity(flat: list[Cell]) -> float:
    """Measure how far the ink of each cell points in one direction; 1 if all of it does."""
    lengths = [int(cell.total @ cell.total) ** 0.5 for cell in flat]
    return sum(map(int, lengths)) / sum(cell.strength for cell in flat)


def _digit(
    excess: NDArray[np.int64],  # signal of the image [H, W, 3]
    nearest: NDArray[np.intp],  # index of the colour that each pixel is nearest to [H, W]
    cell: Cell,
    names: list[str],
    colours: NDArray[np.int64],  # [C, 3]
) -> DetectedDigit:
    """Cut a cell-sized window centred on the digit: the signal along its colour, scaled to [PATCH, PATCH]."""
    from PIL import Image

    own = int(_nearest(cell.total, colours))
    direction = colours[own]
    window = np.s_[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
    # A palette colour is the mean of its ink, and full ink is less than twice as strong: 128 for the mean avoids clipping.
    ink = np.clip(excess @ direction * 128 // int(direction @ direction), 0, 255)
    others = nearest != own
    others[window] = False
    ink[others] = 0  # ink of a neighbouring digit that reaches into the window

    weight = ink[window] * (cell.ink & (nearest[window] == own))
    middle_row, middle_column = (_mean_position(weight.sum(axis=axis)) for axis in (1, 0))
    top, left = cell.top + middle_row - cell.height // 2, cell.left + middle_column - cell.width // 2
    padded = np.pad(ink, ((cell.height, cell.height), (cell.width, cell.width))).astype(np.uint8)
    cut = padded[top + cell.height : top + 2 * cell.height, left + cell.width : left + 2 * cell.width]
    return DetectedDigit(names[own], np.asarray(Image.fromarray(cut).resize((PATCH, PATCH), Image.Resampling.BOX)))


def _mean_position(weights: NDArray[np.int64]) -> int:
    """Return the weighted mean index, rounded to the nearest integer."""
    total = max(1, int(weights.sum()))
    return (2 * int(weights @ np.arange(len(weights))) + total) // (2 * total)
