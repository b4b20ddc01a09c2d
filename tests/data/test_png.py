import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vicur.data.png import encode_png

IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


@given(IMAGES)
def test_pillow_decodes_the_same_pixels(pixels: np.ndarray) -> None:
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), pixels)


def test_an_image_of_several_deflate_blocks_is_decoded() -> None:
    pixels = np.arange(200 * 150 * 3, dtype=np.int64).astype(np.uint8).reshape(200, 150, 3)
    data = encode_png(pixels)
    Image.open(io.BytesIO(data)).verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_the_bytes_follow_the_specification() -> None:
    data = encode_png(np.array([[[1, 2, 3]]], dtype=np.uint8))
    assert data.hex() == (
        "89504e470d0a1a0a"
        "0000000d49484452" "00000001000000010802000000" "907753de"
        "0000000f49444154" "7801" "010400fbff" "00010203" "000e0007" "2da233ec"
        "0000000049454e44ae426082"
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 4), (0, 2, 3)])
def test_other_shapes_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(np.zeros(shape, dtype=np.uint8))
