"""Detection of the grid: rows, columns and colours from pixels alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vicur.cues.grid import PATCH, Colour, Digits, UnreadableError, decode, find_digits, find_digits_in
from vicur.cues.pixels import PixelProvider
from vicur.data.rendering import COLOURS
from vicur.data.schema import Example

PALETTE: dict[str, Colour] = {name: (r - 30, g - 30, b - 30) for name, (r, g, b) in COLOURS.items()}


def located(pixels: NDArray[np.uint8]) -> Digits:
    (found,) = find_digits_in(pixels[None], PALETTE)
    assert not isinstance(found, UnreadableError)
    return found


def picture(layout: list[list[str]], cell: int = 16) -> NDArray[np.uint8]:
    """Draw bars of the named colours in an even grid on a dark, noisy background."""
    rng = np.random.default_rng(0)
    image = rng.integers(16, 45, (len(layout) * cell, len(layout[0]) * cell, 3), dtype=np.uint8)
    for row, names in enumerate(layout):
        for column, name in enumerate(names):
            top, left = row * cell + cell // 6, column * cell + cell // 3
            image[top : top + 2 * cell // 3, left : left + cell // 4] = COLOURS[name]
    return image


@pytest.mark.parametrize(
    "layout",
    [
        [["red", "green", "blue"], ["yellow", "purple", "orange"]],
        [["red", "green"], ["blue", "yellow"], ["purple", "orange"]],
        [["red", "green", "blue", "yellow", "purple", "orange"]],
        [["orange", "red"], ["purple", "blue"]],
        [["green"]],
    ],
)
@pytest.mark.parametrize("cell", [16, 24, 40])
def test_grids_of_any_shape_and_size_are_detected(layout: list[list[str]], cell: int) -> None:
    found = located(picture(layout, cell))
    assert [[digit.colour for digit in line] for line in found] == layout
    assert all(digit.patch.shape == (PATCH, PATCH) for line in found for digit in line)


def test_patches_are_centred_on_the_digit() -> None:
    image = picture([["red", "green", "blue"], ["yellow", "purple", "orange"]])
    moved = image.copy()
    moved[0:16, 0:16] = np.roll(image[0:16, 0:16], (2, -2), axis=(0, 1))
    before, after = (found[0][0].patch.astype(int) for found in map(located, (image, moved)))
    assert np.abs(before - after)[4:12, 4:12].max() < 40


def test_the_colours_of_scenes_are_detected(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    found = find_digits([scene.images[0] for scene in scenes["test"]], provider.palette)
    for scene, digits in zip(scenes["test"], found, strict=True):
        assert not isinstance(digits, UnreadableError)
        assert [[digit.colour for digit in line] for line in digits] == scene.metadata["scene"]["colours"]


def test_enlarged_scenes_are_detected(scenes: dict[str, list[Example]], provider: PixelProvider) -> None:
    scene = scenes["test"][0]
    large = Image.open(io.BytesIO(scene.images[0])).resize((48 * 5, 32 * 5), Image.Resampling.BICUBIC)
    (found,) = find_digits_in(np.asarray(large)[None], provider.palette)
    assert not isinstance(found, UnreadableError)
    assert [[digit.colour for digit in line] for line in found] == scene.metadata["scene"]["colours"]


def test_a_uniform_image_is_unreadable() -> None:
    (found,) = find_digits_in(np.full((1, 32, 48, 3), 30, dtype=np.uint8), PALETTE)
    assert isinstance(found, UnreadableError)
    assert "nothing stands out" in str(found)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 100)])
def test_an_image_too_small_for_digits_is_unreadable(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, *size, 3), dtype=np.uint8)
    assert isinstance(find_digits_in(noise, PALETTE)[0], UnreadableError)


@pytest.mark.parametrize("image", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_invalid_image_bytes_are_unreadable(image: bytes) -> None:
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        decode(image)


def test_a_huge_image_is_rejected_before_decoding() -> None:
    buffer = io.BytesIO()
    Image.new("L", (4000, 10)).save(buffer, "PNG")
    with pytest.raises(UnreadableError, match="pixels wide or high"):
        decode(buffer.getvalue())


def test_images_read_together_give_the_digits_of_each_alone(
    scenes: dict[str, list[Example]], provider: PixelProvider
) -> None:
    images = list({scene.images[0] for scene in scenes["test"] + scenes["ood"]})
    buffer = io.BytesIO()
    Image.open(io.BytesIO(images[0])).resize((96, 64)).save(buffer, "PNG")
    mixed = [images[0], b"broken", buffer.getvalue(), *images[1:], b""]
    together = find_digits(mixed, provider.palette)
    for image, digits in zip(mixed, together, strict=True):
        (alone,) = find_digits([image], provider.palette)
        if isinstance(alone, UnreadableError):
            assert str(digits) == str(alone)
            continue
        assert not isinstance(digits, UnreadableError)
        for line, expected in zip(digits, alone, strict=True):
            assert [digit.colour for digit in line] == [digit.colour for digit in expected]
            for digit, other in zip(line, expected, strict=True):
                assert np.array_equal(digit.patch, other.patch)
