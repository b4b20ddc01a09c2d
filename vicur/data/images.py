"""Validation of image files from untrusted sources."""

from __future__ import annotations

import io
import warnings

FORMATS = ("PNG", "JPEG")
MAX_ASPECT = 200  # largest ratio of the sides that Qwen3-VL's image processor accepts


class UnusableImageError(ValueError):
    """An image that cannot be used, with the reason and a remedy."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def check_image(data: bytes, max_pixels: int) -> None:
    """Decode an image file completely, or raise :class:`UnusableImageError` if it is not an intact PNG or JPEG or is too large."""
    from PIL import Image, UnidentifiedImageError

    replace = "Replace the file by an intact PNG or JPEG."
    try:
        with warnings.catch_warnings():
            # max_pixels replaces Pillow's own limit, at half of which it warns.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                if image.format not in FORMATS:
                    raise UnusableImageError(f"is a {image.format} file", "Convert it to PNG or JPEG.")
                # The header is enough to reject a decompression bomb.
                width, height = image.size
                if width * height > max_pixels:
                    raise UnusableImageError(
                        f"has {width} x {height} pixels, but at most {max_pixels} are allowed",
                        "Scale it down, or raise data.max_pixels.",
                    )
                if max(width, height) > MAX_ASPECT * min(width, height):
                    raise UnusableImageError(
                        f"has {width} x {height} pixels, but one side may be at most {MAX_ASPECT} times the other",
                        "Crop or pad it.",
                    )
                image.verify()
            # verify() only reads the structure, and leaves the image unusable. Decoding also detects truncated or garbled pixels.
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except UnusableImageError:
        raise
    except Image.DecompressionBombError:
        raise UnusableImageError(
            f"has too many pixels to be decoded safely; at most {max_pixels} are allowed", "Scale it down."
        ) from None
    except UnidentifiedImageError:
        raise UnusableImageError("is not an image" if data else "is an empty file", replace) from None
    except Exception as error:  # decoders raise arbitrary exceptions for damaged files
        raise UnusableImageError(f"is a damaged image ({error})", replace) from error
