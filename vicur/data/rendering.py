"""Renders a scene of six coloured digits with integer arithmetic only.

Floating point may round differently on another processor or with another library, and a single different pixel would change the dataset's
hash. Therefore positions, weights and colours are fixed-point numbers, and sine and cosine come from a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vicur.config.data import Distortion

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, COLUMNS = 2, 3
CELL = 16  # side of a cell in pixels: one visual token of the tiny model (patch 8, merge 2)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (235, 60, 55),
    "green": (60, 200, 80),
    "blue": (75, 125, 255),
    "yellow": (245, 225, 70),
    "purple": (185, 85, 230),
    "orange": (250, 145, 40),
}

_SIDE = 8  # of a digit image in load_digits
_INK = 16  # its darkest value
_DIGIT_SIZE = 13  # side of a digit at scale 100 %, in pixels
_BACKGROUND = (16, 44)  # range of each channel of a scene's background

_TRIG_BITS = 14
# round(2**14 * sin(degrees)) for 0..90. A table, because the last bit of libm's sin() differs between machines.
_SINE = (
    0, 286, 572, 857, 1143, 1428, 1713, 1997, 2280, 2563, 2845, 3126, 3406, 3686, 3964, 4240, 4516, 4790, 5063, 5334,
    5604, 5872, 6138, 6402, 6664, 6924, 7182, 7438, 7692, 7943, 8192, 8438, 8682, 8923, 9162, 9397, 9630, 9860, 10087,
    10311, 10531, 10749, 10963, 11174, 11381, 11585, 11786, 11982, 12176, 12365, 12551, 12733, 12911, 13085, 13255,
    13421, 13583, 13741, 13894, 14044, 14189, 14330, 14466, 14598, 14726, 14849, 14968, 15082, 15191, 15296, 15396,
    15491, 15582, 15668, 15749, 15826, 15897, 15964, 16026, 16083, 16135, 16182, 16225, 16262, 16294, 16322, 16344,
    16362, 16374, 16382, 16384,
)  # fmt: skip
_POSITION_BITS = 12  # fraction of a position in the digit image
_WEIGHT_BITS = 8  # fraction of an interpolation weight


def integers(
    rng: np.random.Generator, low: int, high: int | NDArray[np.int64], size: int | tuple[int, ...]
) -> NDArray[np.int64]:
    """Sample integers from low to high, both inclusive. The dataset uses no other kind of random draw."""
    return rng.integers(low, high, size=size, dtype=np.int64, endpoint=True)


def render_scene(
    digits: NDArray[np.uint8], colours: list[str], distortion: Distortion, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Render six digits [6, 8, 8] (ink from 0 to 16, row by row) as an RGB image [32, 48, 3] of 2 x 3 cells."""
    ink = _place(digits, distortion, rng)
    background = integers(rng, *_BACKGROUND, size=3)
    palette = np.array([COLOURS[name] for name in colours], dtype=np.int64)
    cells = background + (palette[:, None, None, :] - background) * ink[..., None] // 255
    cells += integers(rng, -distortion.noise, distortion.noise, size=cells.shape)
    grid = np.clip(cells, 0, 255).astype(np.uint8).reshape(ROWS, COLUMNS, CELL, CELL, 3)
    return np.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4)).reshape(ROWS * CELL, COLUMNS * CELL, 3)


def _place(digits: NDArray[np.uint8], distortion: Distortion, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the ink [6, 16, 16], 0 to 255, of each digit after rotation, scaling, shift, stroke, blur and intensity."""
    count = len(digits)
    angle = integers(rng, -distortion.rotation, distortion.rotation, size=count)
    shift = integers(rng, -distortion.shift, distortion.shift, size=(count, 2))
    scale = integers(rng, *distortion.scale, size=count)
    intensity = integers(rng, *distortion.intensity, size=count)
    stroke = integers(rng, -distortion.stroke, distortion.stroke, size=count)
    blurred = integers(rng, 0, 99, size=count) < distortion.blurred

    ink = _resample(digits, angle, shift, scale)
    ink = _restroke(ink, stroke[:, None, None])
    ink = np.where(blurred[:, None, None], _blur(ink), ink)
    return ink * intensity[:, None, None] // 100


def _resample(
    digits: NDArray[np.uint8], angle: NDArray[np.int64], shift: NDArray[np.int64], scale: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Resample the digits bilinearly. Returns ink [N, 16, 16], 0 to 255."""
    sine = np.array(_SINE, dtype=np.int64)
    cos, sin = (t[:, None, None] for t in (sine[90 - np.abs(angle)], np.sign(angle) * sine[np.abs(angle)]))
    # Distances from the digit's centre are in half pixels, so that pixel centres are integers.
    offset = 2 * np.arange(CELL, dtype=np.int64) + 1 - CELL
    dx = offset[None, None, :] - 2 * shift[:, 0, None, None]
    dy = offset[None, :, None] - 2 * shift[:, 1, None, None]
    # Fixed-point distance in the digit image from one pixel of the cell to the next.
    step = ((_SIDE << _POSITION_BITS) * 100 // (_DIGIT_SIZE * scale))[:, None, None]
    centre = (_SIDE << _POSITION_BITS) // 2 - (1 << _POSITION_BITS) // 2
    x = centre + ((dx * cos + dy * sin) * step >> _TRIG_BITS + 1)
    y = centre + ((dy * cos - dx * sin) * step >> _TRIG_BITS + 1)

    # Pad with two pixels without ink, so that lookups outside the digit image need no special case.
    paper = np.pad(digits.astype(np.int64), ((0, 0), (2, 2), (2, 2)))
    column, row = (np.clip(p >> _POSITION_BITS, -2, _SIDE) + 2 for p in (x, y))
    one = 1 << _WEIGHT_BITS
    fx, fy = ((p >> _POSITION_BITS - _WEIGHT_BITS) & (one - 1) for p in (x, y))
    n = np.arange(len(digits))[:, None, None]
    top = paper[n, row, column] * (one - fx) + paper[n, row, column + 1] * fx
    bottom = paper[n, row + 1, column] * (one - fx) + paper[n, row + 1, column + 1] * fx
    ink: NDArray[np.int64] = (top * (one - fy) + bottom * fy) * 255 // (_INK * one * one)
    return ink


def _restroke(ink: NDArray[np.int64], percent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Thicken strokes (percent > 0) by saturating their soft edge, or thin them (percent < 0) by cutting it off."""
    thicker = np.minimum(ink * (100 + 2 * np.maximum(percent, 0)) // 100, 255)
    cut = 255 * np.maximum(-percent, 0) // 100
    thinner = np.maximum(ink - cut, 0) * 255 // (255 - cut)
    restroked: NDArray[np.int64] = np.where(percent > 0, thicker, thinner)
    return restroked


def _blur(ink: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights 1, 2, 1 along both axes."""
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    across = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    blurred: NDArray[np.int64] = (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]) // 16
    return blurred
