import hashlib
import math

import numpy as np
import pytest

from vicur.config.data import Distortion
from vicur.data import rendering
from vicur.data.rendering import CELL, COLOURS, render_scene
from vicur.seeds import numpy_generator

PLAIN = Distortion(rotation=0, shift=0, scale=(100, 100), intensity=(100, 100), noise=0)
NAMES = list(COLOURS)


def _bars() -> np.ndarray:
    digits = np.zeros((6, 8, 8), dtype=np.uint8)
    digits[:, :, 3:5] = 16
    return digits


def _draw(digits: np.ndarray, distortion: Distortion, seed: int = 0) -> np.ndarray:
    return render_scene(digits, NAMES, distortion, numpy_generator(seed, "test"))


def test_the_sine_table_is_the_rounded_sine() -> None:
    assert list(rendering._SINE) == [round(math.sin(math.radians(angle)) * 2**14) for angle in range(91)]


def test_each_cell_has_its_colour() -> None:
    image = _draw(_bars(), PLAIN)
    assert image.shape == (32, 48, 3)
    for place, name in enumerate(NAMES):
        row, column = divmod(place, 3)
        cell = image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        assert tuple(cell[8, 8]) == COLOURS[name]
        assert cell[8, 1].max() <= 44  # background


def test_an_undistorted_digit_is_centred_in_its_cell() -> None:
    cell = _draw(_bars(), PLAIN)[:CELL, :CELL, 0].astype(int)
    # Positions are rounded down to 1/256 of a pixel of the digit image.
    assert np.abs(cell - cell[:, ::-1]).max() <= 2
    assert np.abs(cell - cell[::-1]).max() <= 2


def test_rotation_tilts_a_bar_and_preserves_its_ink() -> None:
    upright = rendering._resample(_bars(), *_placed(angle=0))
    leaning = rendering._resample(_bars(), *_placed(angle=12))
    assert abs(int(leaning.sum()) - int(upright.sum())) < 0.05 * upright.sum()
    top, bottom = (int((leaning[0, row] * np.arange(CELL)).sum() / leaning[0, row].sum()) for row in (3, 12))
    assert top != bottom


def _placed(angle: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(6, angle), np.zeros((6, 2), dtype=np.int64), np.full(6, 100)


def test_a_shift_moves_the_digit_by_whole_pixels() -> None:
    angle, shift, scale = _placed(angle=0)
    here = rendering._resample(_bars(), angle, shift, scale)
    there = rendering._resample(_bars(), angle, shift + np.array([2, 0]), scale)
    assert np.array_equal(there[:, :, 2:], here[:, :, :-2])


@pytest.mark.parametrize(("percent", "grows"), [(40, True), (-40, False)])
def test_strokes_are_thickened_and_thinned(percent: int, grows: bool) -> None:
    ink = rendering._resample(_bars(), *_placed(angle=0))
    changed = rendering._restroke(ink, np.full((6, 1, 1), percent))
    assert (changed.sum() > ink.sum()) == grows
    assert changed.min() == 0
    assert changed.max() == 255


def test_noise_stays_within_its_limit() -> None:
    quiet = _draw(_bars(), PLAIN).astype(int)
    noisy = _draw(_bars(), PLAIN.model_copy(update={"noise": 24})).astype(int)
    assert 0 < np.abs(noisy - quiet).max() <= 24


def test_the_same_seed_gives_the_same_pixels_on_every_machine() -> None:
    distortion = Distortion(rotation=25, shift=2, stroke=20, blurred=50)
    image = _draw(_bars(), distortion, seed=7)
    assert (
        hashlib.sha256(image.tobytes()).hexdigest()
        == "af9726344a2354ffd9a30fc7304786d4ef1f8b1ec15ffceb6a4d53746e31542a"
    )
