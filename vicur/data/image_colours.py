"""Conversion of all that decoders return (palettes, transparency, 16 bits, CMYK, colour profiles) to 8-bit gray or RGB.

Rules, each in the function that applies it:

- 16 bits: the upper eight, as Pillow itself reads 16-bit colours. A TIFF of 12 bits: the upper eight of these.
- 32-bit integers and floats have no fixed range. Theirs is the smallest of 0..1 (floats), 0..255 and 0..65535 that holds all values;
  an image that fits none is unusable.
- Transparency is blended with white, as on a page.
- A colour profile is applied if some colour would change by more than :data:`TOLERANCE`.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from vicur.data.images import UnusableImageError

TOLERANCE = 4
"""Largest change of a channel, of 255, for which a colour profile counts as sRGB."""

_PROFILE = "icc_profile"
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour spaces of profiles, and Pillow's modes
_STEPS = 9  # values of each channel in the colours that a profile is tried with
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_GRAY = ("1", "L", "LA", "La")


def differs_from_srgb(image: Image.Image) -> bool:
    """Return whether an image of mode L or RGB has a colour profile that changes its colours."""
    profile = image.info.get(_PROFILE)
    return bool(profile) and _changes(profile, image.mode)


def to_plain_colours(image: Image.Image, bits: int) -> tuple[Image.Image, list[str]]:
    """Convert a decoded image to mode ``L`` or ``RGB``, and return what was changed.

    ``bits`` are those per channel of a PNG, before Pillow scaled them.

    Raises:
        UnusableImageError: if its values have no known range.
    """
    notes: list[str] = []
    profile = image.info.get(_PROFILE)
    colours, alpha = _separated(image, bits, notes)
    if colours.mode == "LAB":
        colours = _from_lab(colours)
        notes.append("converted from LAB")
    elif profile and _changes(profile, colours.mode):
        colours = _to_srgb(colours, profile)
        notes.append("colours converted to sRGB")
    elif colours.mode not in ("L", "RGB"):
        notes.append(f"converted from {colours.mode}")
    colours = colours if colours.mode == "L" else colours.convert("RGB")
    if alpha is not None and alpha.getextrema() != (255, 255):
        colours = Image.composite(colours, Image.new(colours.mode, colours.size, "white"), alpha)
        notes.append("transparent: blended with white")
    return colours, notes


def _separated(image: Image.Image, bits: int, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Return colours (L, RGB, CMYK, LAB, ...) of 8 bits a channel, and the alpha channel if there is one."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _eight_bits(image, notes)
    transparent = image.info.get("transparency")
    if image.mode == "P":
        image = image.convert("RGBA" if transparent is not None else "RGB")
    elif transparent is not None and image.mode in ("1", "L", "RGB"):
        return (image.convert("L") if image.mode == "1" else image), _alpha_of_one(image, transparent, bits)
    if image.mode in _ALPHA:
        gray = image.mode in _GRAY
        # RGBa and La are multiplied by alpha. A palette (PA) converts to RGBA as well.
        whole = image.convert("LA" if gray else "RGBA")
        return whole.convert("L" if gray else "RGB"), whole.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB"), None


def _alpha_of_one(image: Image.Image, transparent: Any, bits: int) -> Image.Image:
    """Return the alpha channel of a PNG in which one value or colour is transparent."""
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    # The file states it in its own depth, but Pillow has scaled the values to eight bits (and of one bit, both).
    scaled = np.right_shift(transparent, 8) if bits == 16 else np.multiply(transparent, 255 // (2**bits - 1))
    scaled = np.minimum(scaled, 255)
    same = values == scaled
    return Image.fromarray(np.where(same.all(axis=-1) if values.ndim == 3 else same, 0, 255).astype(np.uint8))


def _eight_bits(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(image)
    top = _top(image, values)
    notes.append("scaled to 8 bits")
    scaled = np.rint(values * (255 / top)) if values.dtype.kind == "f" else values >> (top.bit_length() - 8)
    transparent = image.info.get("transparency")
    alpha = None
    if isinstance(transparent, int):
        alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.fromarray(scaled.astype(np.uint8)), alpha


def _top(image: Image.Image, values: np.ndarray) -> int:
    """Return the value of white."""
    if image.mode.startswith("I;16"):
        bits = int(getattr(image, "tag_v2", {}).get(258, (16,))[0])  # BitsPerSample
        return (1 << bits) - 1
    if image.format == "PPM" and image.mode == "I":
        return 65535  # Pillow scales a PGM to it
    low, high = float(values.min()), float(values.max())
    for top in (1, 255, 65535) if image.mode == "F" else (255, 65535):
        if low >= 0 and high <= top:
            return top
    raise UnusableImageError(
        f"has values from {low:g} to {high:g}, and no file says which are black and white", "Convert it to 8 bits."
    )


def _from_lab(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
    return _applied(transform, image)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert the colours of an image of mode L, RGB or CMYK to sRGB. Gray stays gray."""
    if image.mode == "L":
        return image.point(_gray_curve(profile))
    return _applied(ImageCms.buildTransform(_profile(profile), _srgb(), image.mode, "RGB"), image)


@lru_cache(maxsize=64)
def _changes(profile: bytes, mode: str) -> bool:
    """Return whether a profile changes the colours of images of this mode. One that cannot be read, or is of another mode, does not."""
    try:
        if mode == "L":
            return bool(np.abs(np.array(_gray_curve(profile)) - np.arange(256)).max() > TOLERANCE)
        if _mode_of(profile) != mode:
            return False
        if mode == "CMYK":
            return True
        if mode != "RGB":
            return False
        axis = np.linspace(0, 255, _STEPS).astype(np.uint8)
        cube = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(1, -1, 3)
        changed = np.asarray(_to_srgb(Image.fromarray(cube), profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False
    return bool(np.abs(changed.astype(int) - cube).max() > TOLERANCE)


@lru_cache(maxsize=64)
def _gray_curve(profile: bytes) -> list[int]:
    """Return the sRGB value of each gray value under a profile for gray or RGB images."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(1, 256))
    mode = _mode_of(profile)
    if mode not in ("L", "RGB"):
        return list(range(256))
    transform = ImageCms.buildTransform(_profile(profile), _srgb(), mode, "RGB")
    return [int(value) for value in np.asarray(_applied(transform, ramp.convert(mode)))[0, :, 1]]


def _mode_of(profile: bytes) -> str | None:
    return _SPACES.get(str(_profile(profile).profile.xcolor_space).strip())


def _profile(data: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(data))


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("the colours were not converted")
    return converted
