"""Images of requests, read as in training and held to the server's limits.

vLLM turns an image by its EXIF tag and lays a transparent one on white; training does neither. It also fetches any address that a request
names, from inside the network that the server stands in. Here images come in the request, unless the server was started with the hosts or
the folder that others may come from.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any

from PIL import Image
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector
from vllm.multimodal.media.base import MediaWithBytes
from vllm.multimodal.media.image import ImageMediaIO

from vicur.config.serving import ServerLimits
from vicur.data.images import UnusableImageError, check_image
from vicur_vllm.bounds import server_limits

CONNECTOR = "vicur"
"""What ``VLLM_MEDIA_CONNECTOR`` calls the way in which images come here."""


class StudentImages(ImageMediaIO):
    """Reads one image.

    Args:
        limits: what it is held to.
    """

    def __init__(self, limits: ServerLimits) -> None:
        super().__init__()
        self._limits = limits

    def get_max_bytes(self) -> int:
        """Most bytes that are fetched from where images may come from."""
        return self._limits.max_image_bytes

    def load_bytes(self, data: bytes) -> MediaWithBytes[Image.Image]:
        """The image in a file's bytes.

        Raises:
            VLLMValidationError: where it is too large, or no whole PNG or JPEG.
        """
        self._require_size(len(data))
        try:
            check_image(data, self._limits.max_image_pixels)
        except UnusableImageError as error:
            raise _refused(f"An attached file {error.reason}.") from error
        with Image.open(io.BytesIO(data)) as opened:
            # The pixels alone: by an EXIF tag vLLM would turn it later on.
            bare = Image.new("RGB", opened.size)
            bare.paste(opened.convert("RGB"))
        return MediaWithBytes(bare, data, {"read_by": CONNECTOR})

    def load_base64(self, media_type: str, data: str) -> MediaWithBytes[Image.Image]:
        """The image in base64 text."""
        del media_type  # The bytes say what they are.
        self._require_size(len(data) * 3 // 4 - 2)
        try:
            return self.load_bytes(base64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise _refused("An image's data is no base64 text.") from error

    def load_file(self, filepath: Path) -> MediaWithBytes[Image.Image]:
        """The image in a file of the folder that the server was started with."""
        self._require_size(filepath.stat().st_size)
        return super().load_file(filepath)

    def _require_size(self, count: int) -> None:
        if count > self._limits.max_image_bytes:
            raise _refused(f"An image has more than {self._limits.max_image_bytes} bytes (max_image_bytes).")


@MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)
class StudentMedia(MediaConnector):
    """Finds the images that requests name."""

    def fetch_image(self, image_url: str, **_: Any) -> MediaWithBytes[Image.Image]:
        """The image behind an address."""
        self._require_allowed(image_url)
        return self.load_from_url(image_url, StudentImages(server_limits()))

    async def fetch_image_async(self, image_url: str, **_: Any) -> MediaWithBytes[Image.Image]:
        """As :meth:`fetch_image`; reading goes on in another thread."""
        self._require_allowed(image_url)
        return await self.load_from_url_async(image_url, StudentImages(server_limits()))

    def _require_allowed(self, url: str) -> None:
        """Raises for an address that is not to be fetched."""
        scheme, _, rest = url.partition(":")
        match scheme.lower():
            case "data":
                kind, comma, _ = rest.partition(",")
                if not comma or not kind.endswith(";base64"):
                    raise _refused("An image's data: URL is not of the form data:image/png;base64,...")
            case "http" | "https":
                # vLLM takes none for any. Which of them this address is of, it compares itself.
                if not self.allowed_media_domains:
                    raise _refused(
                        "This server fetches no images. Send the image itself, as a data: URL "
                        "(or start the server with --allowed-media-domains)."
                    )
            case "file":
                if self.allowed_local_media_path is None:
                    raise _refused("This server opens no files. Send the image itself, as a data: URL.")
            case _:
                raise _refused("An image's address is no data: URL.")


def _refused(problem: str) -> VLLMValidationError:
    return VLLMValidationError(problem, parameter="image_url")
