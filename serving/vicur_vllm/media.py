"""Load the images of requests as ``vicur data prepare`` does, and enforce the server's limits.

Prepared datasets contain images in one form (:mod:`vicur.data.images`), into which those of requests are brought too. vLLM's own loader
differs from it in formats, 16-bit images and colour profiles. vLLM also downloads any URL in a request from inside the server's network.
This module accepts only images that are part of the request, unless the server was started with a list of allowed hosts or with a local
folder.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from PIL import Image
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector
from vllm.multimodal.media.base import MediaWithBytes
from vllm.multimodal.media.image import ImageMediaIO

from vicur.config.serving import ServerLimits
from vicur.data.images import UnusableImageError, normalised, plain_image
from vicur_vllm.bounds import server_limits

CONNECTOR = "vicur"
"""Value of ``VLLM_MEDIA_CONNECTOR`` that selects :class:`StudentMedia`."""


class StudentImages(ImageMediaIO):
    """Decode one image."""

    def __init__(self, limits: ServerLimits) -> None:
        super().__init__()
        self._limits = limits

    def get_max_bytes(self) -> int:
        """Return the maximum size of a download from an allowed host."""
        return self._limits.max_image_bytes

    def load_bytes(self, data: bytes) -> MediaWithBytes[Image.Image]:
        """Decode an image file, or raise an error if it is too large, damaged or of an unknown format."""
        self._require_size(len(data))
        try:
            pixels = plain_image(normalised(data, self._limits.max_image_pixels).data)
        except UnusableImageError as error:
            raise _invalid(f"An image of the request cannot be used: it {error.reason}.") from error
        pixels.info.clear()  # vLLM would look for EXIF data and transparency
        return MediaWithBytes(pixels, data, {"read_by": CONNECTOR})

    def load_base64(self, media_type: str, data: str) -> MediaWithBytes[Image.Image]:
        del media_type  # The format is detected from the bytes.
        # Check the size before decoding. Up to two bytes of the result may be padding.
        self._require_size(len(data) * 3 // 4 - 2)
        try:
            return self.load_bytes(base64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise _invalid("The data of an image is not valid base64.") from error

    def load_file(self, filepath: Path) -> MediaWithBytes[Image.Image]:
        """Decode a file in the folder that the server was started with."""
        self._require_size(filepath.stat().st_size)
        return super().load_file(filepath)

    def _require_size(self, count: int) -> None:
        if count > self._limits.max_image_bytes:
            raise _invalid(f"An image has more than {self._limits.max_image_bytes} bytes (max_image_bytes).")


@MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)
class StudentMedia(MediaConnector):
    """Load images from the URLs in requests."""

    def fetch_image(self, image_url: str, **_: Any) -> MediaWithBytes[Image.Image]:
        self._require_allowed(image_url)
        return self.load_from_url(image_url, StudentImages(server_limits()))

    async def fetch_image_async(self, image_url: str, **_: Any) -> MediaWithBytes[Image.Image]:
        self._require_allowed(image_url)
        return await self.load_from_url_async(image_url, StudentImages(server_limits()))

    def _require_allowed(self, url: str) -> None:
        scheme, _, rest = url.partition(":")
        match scheme.lower():
            case "data":
                kind, comma, _ = rest.partition(",")
                if not comma or not kind.endswith(";base64"):
                    raise _invalid("The data: URL of an image must have the form data:image/png;base64,...")
            case "http" | "https":
                # Without a list of domains, vLLM would allow all. It compares the URL with the list itself.
                if not self.allowed_media_domains:
                    raise _invalid(
                        "This server does not download images. Send the image as a data: URL, "
                        "or start the server with --allowed-media-domains."
                    )
            case "file":
                if self.allowed_local_media_path is None:
                    raise _invalid("This server does not open local files. Send the image as a data: URL.")
            case _:
                raise _invalid("The URL of an image must be a data: URL.")


def _invalid(problem: str) -> VLLMValidationError:
    return VLLMValidationError(problem, parameter="image_url")
