"""Detect coloured digits on a dark, noisy background, and the grid that they form.

Only the possible colours are known beforehand, not the number of rows and columns or the position of any digit. All arithmetic uses
integers or single float operations, which IEEE 754 rounds identically everywhere, so the result does not depend on the processor.
Images of equal size are searched together, because numpy takes longer to start an operation than to work on a small cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
# Limits the memory of images that are searched together, to about 100 bytes a pixel. A larger image is searched alone.
_PIXELS_AT_ONCE = 1 << 17


class UnreadableError(Exception):
    """An image that cannot be read. Equal causes have equal messages, so that they can be counted."""


@dataclass(frozen=True)
class DetectedDigit:
    """A digit that was located but not yet recognized."""

    colour: str
    patch: NDArray[np.uint8]  # ink [PATCH, PATCH], 0..255, centred


Digits = list[list[DetectedDigit]]
"""The digits of an image, row by row."""


@dataclass(frozen=True)
class Cells:
    """The cells of the same even grid over N images of equal size: R rows of C cells."""

    height: int  # of each cell, in pixels
    width: int
    ink: NDArray[np.bool_]  # which pixels are ink [N, R, C, height, width]
    total: NDArray[np.int64]  # sum of the ink's signal [N, R, C, 3]
    strength: NDArray[np.int64]  # sum of the lengths of the ink's signal [N, R, C]


def decode(image: bytes) -> NDArray[np.uint8]:
    """Decode an image to pixels [H, W, 3], or raise UnreadableError."""
    from vicur.data.images import UnusableImageError, plain_image, plain_size

    try:
        if max(plain_size(image)) > _LONGEST_SIDE:
            raise UnreadableError(f"the image is more than {_LONGEST_SIDE} pixels wide or high")
        return np.asarray(plain_image(image))
    except UnusableImageError as error:
        raise UnreadableError("the image cannot be decoded") from error


def signal(pixels_NHW3: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Subtract from each pixel [N, H, W, 3] the background of its image, the median of each channel."""
    flat = pixels_NHW3.reshape(len(pixels_NHW3), -1, 3)
    middle = flat.shape[1] // 2
    background = np.partition(flat, middle, axis=1)[:, middle].astype(np.int64)
    return np.asarray(pixels_NHW3 - background[:, None, None])


def cells(signal_NHW3: NDArray[np.int64], rows: int, columns: int) -> Cells:
    """Divide images into an even grid of cells. Remaining pixels at the right and bottom are left out."""
    count, height, width = len(signal_NHW3), signal_NHW3.shape[1] // rows, signal_NHW3.shape[2] // columns
    cut = signal_NHW3[:, : rows * height, : columns * width]
    inside = cut.reshape(count, rows, height, columns, width, 3).swapaxes(2, 3)
    squared = np.sum(np.square(inside), axis=-1)
    flat = squared.reshape(count, rows, columns, height * width)
    place = flat.shape[-1] - max(1, flat.shape[-1] * _STRONGEST_PERCENT // 100)
    strongest = np.partition(flat, place)[..., place, None, None]
    ink = (squared * 100**2 >= strongest * _INK_PERCENT**2) & (squared > 0)
    lengths = np.sqrt(squared).astype(np.int64)
    return Cells(
        height,
        width,
        ink,
        total=np.sum(inside * ink[..., None], axis=(3, 4)),
        strength=np.sum(lengths * ink, axis=(3, 4)),
    )


def find_digits(images: Sequence[bytes], palette: Mapping[str, Colour]) -> list[Digits | UnreadableError]:
    """Locate the digits of each image in the colours of ``palette``, or the reason why they cannot be located."""
    found: list[Digits | UnreadableError] = [UnreadableError("not searched")] * len(images)
    by_shape: defaultdict[tuple[int, ...], list[tuple[int, NDArray[np.uint8]]]] = defaultdict(list)
    for number, image in enumerate(images):
        try:
            pixels = decode(image)
        except UnreadableError as error:
            found[number] = error
            continue
        by_shape[pixels.shape].append((number, pixels))
    for shape, members in by_shape.items():
        at_once = max(1, _PIXELS_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(members), at_once):
            numbers, stack = zip(*members[start : start + at_once], strict=True)
            for number, digits in zip(numbers, find_digits_in(np.stack(stack), palette), strict=True):
                found[number] = digits
    return found


def find_digits_in(pixels_NHW3: NDArray[np.uint8], palette: Mapping[str, Colour]) -> list[Digits | UnreadableError]:
    """Locate the digits of each of N images of equal size."""
    # Take the finest even grid in which every cell has ink and no two cells have the same colour: a coarser grid mixes
    # colours in a cell, a finer one splits a digit. Among several, take the one with the purest cells.
    excess = signal(pixels_NHW3)
    names = list(palette)
    colours = np.array([palette[name] for name in names], dtype=np.int64)
    found: list[Digits | UnreadableError] = [UnreadableError("nothing stands out from the background")] * len(excess)
    left = np.arange(len(excess))
    for shapes in _shapes(excess.shape[1:3], len(names)):
        grids = [cells(excess[left], *shape) for shape in shapes]
        purities = np.array([_purities(grid, colours) for grid in grids]).reshape(len(grids), len(left))
        # Of grids of equal purity, the one with more rows.
        best = len(grids) - 1 - np.argmax(purities[::-1], axis=0) if grids else left
        for number, grid in enumerate(grids):
            chosen = (best == number) & (purities[number] >= 0)
            if chosen.any():
                digits = _digits(excess[left[chosen]], _of(grid, chosen), names, colours)
                for image, found_in_image in zip(left[chosen], digits, strict=True):
                    found[image] = found_in_image
        left = left[~np.any(purities >= 0, axis=0)]
        if not len(left):
            break
    return found


def _shapes(size: tuple[int, ...], most: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the shapes (rows, columns) of all grids with ``most`` cells, then with one cell less, and so on."""
    for count in range(most, 0, -1):
        shapes = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
        yield [(r, c) for r, c in shapes if size[0] // r >= _SMALLEST_CELL and size[1] // c >= _SMALLEST_CELL]


def _of(grid: Cells, chosen: NDArray[np.bool_]) -> Cells:
    """Return the cells of some of the images."""
    return Cells(grid.height, grid.width, grid.ink[chosen], grid.total[chosen], grid.strength[chosen])


def _nearest(products: NDArray[np.int64], colours: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the index [...] of the colour whose direction is nearest to that of a signal, from its products with all colours [..., C]."""
    # The signal's length is left out because it is the same for all colours. Square roots and quotients are exactly
    # rounded on every machine.
    nearest: NDArray[np.intp] = np.argmax(products / np.sqrt(np.sum(np.square(colours), axis=1)), axis=-1)
    return nearest


def _purities(grid: Cells, colours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure how far the ink of each cell points in one direction [N]; 1 if all of it does, -1 if the image does not have this grid."""
    count = len(grid.total)
    own = np.sort(_nearest(grid.total @ colours.T, colours).reshape(count, -1), axis=1)
    fits = np.all(own[:, 1:] != own[:, :-1], axis=1) & np.all(grid.strength > 0, axis=(1, 2))
    lengths = np.sqrt(np.sum(np.square(grid.total), axis=-1)).astype(np.int64)
    strength = np.maximum(grid.strength.sum(axis=(1, 2)), 1)
    return np.where(fits, lengths.sum(axis=(1, 2)) / strength, -1)


def _digits(
    excess: NDArray[np.int64],  # signal of the images [N, H, W, 3]
    grid: Cells,
    names: list[str],
    colours: NDArray[np.int64],  # [C, 3]
) -> list[Digits]:
    """Cut the digit out of each cell."""
    products = excess @ colours.T
    nearest = _nearest(products, colours)
    own = _nearest(grid.total @ colours.T, colours)
    rows, columns = own.shape[1:]
    patches = [
        [_patches(products, nearest, grid, own, (row, column), colours) for column in range(columns)]
        for row in range(rows)
    ]
    return [
        [
            [DetectedDigit(names[own[image, row, column]], patches[row][column][image]) for column in range(columns)]
            for row in range(rows)
        ]
        for image in range(len(excess))
    ]


def _patches(
    products: NDArray[np.int64],  # of the images' signal with each colour [N, H, W, C]
    nearest: NDArray[np.intp],  # index of the colour that each pixel is nearest to [N, H, W]
    grid: Cells,
    own: NDArray[np.intp],  # index of the colour of each cell [N, R, C]
    place: tuple[int, int],  # row and column of the cell
    colours: NDArray[np.int64],  # [C, 3]
) -> list[NDArray[np.uint8]]:
    """Cut a cell-sized window centred on the digit of a cell: the signal along its colour, scaled to [PATCH, PATCH]."""
    from PIL import Image

    row, column = place
    images = np.arange(len(own))
    colour = own[:, row, column]
    height, width, top, left = grid.height, grid.width, row * grid.height, column * grid.width
    window = np.s_[:, top : top + height, left : left + width]
    # A palette colour is the mean of its ink, and full ink is less than twice as strong: 128 for the mean avoids clipping.
    squared = np.sum(np.square(colours), axis=1)[colour, None, None]
    ink = np.clip(np.take_along_axis(products, colour[:, None, None, None], axis=-1)[..., 0] * 128 // squared, 0, 255)
    is_own = nearest == colour[:, None, None]
    inside = ink[window]
    weight = inside * (grid.ink[:, row, column] & is_own[window])
    # Ink of a neighbouring digit that reaches into the window counts as background.
    padded = np.pad(ink * is_own, ((0, 0), (height, height), (width, width)))
    padded[:, height + top : 2 * height + top, width + left : 2 * width + left] = inside

    middle_row, middle_column = (_mean_positions(weight.sum(axis=axis)) for axis in (2, 1))
    rows = (top + height + middle_row - height // 2)[:, None] + np.arange(height)
    columns = (left + width + middle_column - width // 2)[:, None] + np.arange(width)
    cut = padded[images[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.uint8)
    side = (PATCH, PATCH)
    return [np.asarray(Image.fromarray(digit).resize(side, Image.Resampling.BOX)) for digit in cut]


def _mean_positions(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the weighted mean index of each row [N], rounded to the nearest integer."""
    total = np.maximum(1, weights.sum(axis=1))
    positions: NDArray[np.int64] = (2 * (weights @ np.arange(weights.shape[1])) + total) // (2 * total)
    return positions
