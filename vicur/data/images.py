"""Checks image files before anything trusts them."""

from __future__ import annotations

import io
import warnings

FORMATS = ("PNG", "JPEG")
MAX_ASPECT = 200
"""Longest side over shortest that Qwen3-VL's image processor takes."""


class UnusableImageError(ValueError):
    """An image that cannot be used.

    Args:
        reason: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def check_image(data: bytes, max_pixels: int) -> None:
    """Decodes an image file as a whole.

    Args:
        data: bytes of the file.
        max_pixels: an image with more is refused before it is decoded.

    Raises:
        UnusableImageError: where it is no PNG or JPEG, too large, or broken.
    """
    from PIL import Image, UnidentifiedImageError

    replace = "Replace the file with a whole PNG or JPEG."
    try:
        with warnings.catch_warnings():
            # The limit is ours to set; Pillow's own warns at half of it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                if image.format not in FORMATS:
                    raise UnusableImageError(f"is a {image.format} file", "Convert it to PNG or JPEG.")
                width, height = image.size
                if width * height > max_pixels:
                    raise UnusableImageError(
                        f"is an image of {width} x {height} pixels, and {max_pixels} pixels are allowed",
                        "Scale it down, or raise max_pixels.",
                    )
                if max(width, height) > MAX_ASPECT * min(width, height):
                    raise UnusableImageError(
                        f"is an image of {width} x {height} pixels, and a side may be {MAX_ASPECT} times the other",
                        "Crop or pad it.",
                    )
                image.verify()
            # verify() reads the structure and leaves the image unusable; only decoding finds a cut or garbled file.
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except UnusableImageError:
        raise
    except Image.DecompressionBombError:
        raise UnusableImageError(
            f"is an image of more pixels than may be decoded, and {max_pixels} pixels are allowed", "Scale it down."
        ) from None
    except UnidentifiedImageError:
        raise UnusableImageError("is no image" if data else "is an empty file", replace) from None
    except Exception as error:  # a decoder may raise anything at a broken file
        raise UnusableImageError(f"is a broken image ({error})", replace) from error
