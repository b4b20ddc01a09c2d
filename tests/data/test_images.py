"""Source images become what a person sees, in one form."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from tests.data.conftest import png
from tests.data.image_files import LIMIT, noise, pixels, saved, with_chunk
from vicur.data.images import (
    UnusableImageError,
    media_type,
    normalised,
    plain_image,
    plain_size,
    require_plain,
    scaled_down,
)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("format_", "settings"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {"pnginfo": None, "dpi": (72, 72)})],
)
def test_plain_files_are_kept_byte_for_byte(mode, format_, settings) -> None:
    data = saved(noise(mode=mode), format_, **settings)
    image = normalised(data, LIMIT)
    assert (image.data, image.width, image.height, image.notes) == (data, 24, 16, ())
    assert plain_size(data) == (24, 16)
    require_plain(data, LIMIT)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_photos_stand_upright(format_, orientation) -> None:
    scene = Image.new("RGB", (48, 32), "white")
    scene.paste((255, 0, 0), (0, 0, 16, 16))
    scene.paste((0, 0, 255), (32, 0, 48, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(scene, exif=exif))))
    best = {"quality": 100, "subsampling": 0}
    settings = {"WEBP": {"lossless": True}, "JPEG": best, "AVIF": {**best, "subsampling": "4:4:4"}}
    data = saved(scene, format_, exif=exif, **settings.get(format_, {}))
    image = normalised(data, LIMIT)
    assert (image.width, image.height) == seen.size
    assert np.abs(pixels(data) - np.asarray(seen.convert("RGB"))).max() <= 30
    assert ("rotated" in image.notes) == (orientation > 1)


def test_exif_data_after_the_pixels_of_a_png_count() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = with_chunk(saved(noise()), b"eXIf", exif.tobytes()[6:], before=b"IEND")
    assert normalised(data, LIMIT).notes == ("rotated",)
    with pytest.raises(UnusableImageError, match="turned by its EXIF data"):
        plain_image(data)


def test_unreadable_exif_data_are_ignored() -> None:
    data = with_chunk(saved(noise()), b"eXIf", b"MM\0*\xff\xff\xff\xff\xff")
    assert normalised(data, LIMIT).data == data


def _black_drawing(mode: str) -> bytes:
    """Draw a black square on nothing."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (2, 2, 6, 6))
    return saved(image.convert(mode))


def _palette_with_one_transparent_entry() -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.paste(0, (2, 2, 6, 6))
    return saved(image, transparency=1)


def _one_transparent_value(depth: int, kind: int) -> bytes:
    """Write a PNG in gray (``kind`` 0) or RGB (2) by hand: 0 in the square, and around it a value that is declared transparent."""
    top = 2**depth - 1
    channels = 3 if kind == 2 else 1
    rows = b""
    for y in range(8):
        values = [0 if 2 <= x < 6 and 2 <= y < 6 else top for x in range(8) for _ in range(channels)]
        bits = "".join(f"{value:0{depth}b}" for value in values)
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", 8, 8, depth, kind, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + with_chunk(b"\0\0\0\0IEND\xaeB`\x82", b"IDAT", zlib.compress(rows), before=b"IEND")
    whole = with_chunk(whole, b"IHDR", header)
    return with_chunk(whole, b"tRNS", struct.pack(f">{channels}H", *[top] * channels))


@pytest.mark.parametrize(
    "data",
    [
        _black_drawing("RGBA"),
        _black_drawing("LA"),
        _palette_with_one_transparent_entry(),
        *(_one_transparent_value(depth, 0) for depth in (1, 2, 4, 8, 16)),
        *(_one_transparent_value(depth, 2) for depth in (8, 16)),
    ],
)
def test_transparency_lies_on_white(data) -> None:
    expected = np.full((8, 8, 3), 255)
    expected[2:6, 2:6] = 0
    assert np.array_equal(pixels(data), expected)
    assert "transparent: blended with white" in normalised(data, LIMIT).notes


def test_half_transparent_pixels_are_blended() -> None:
    assert pixels(saved(Image.new("RGBA", (2, 2), (200, 0, 100, 51))))[0, 0].tolist() == [244, 204, 224]


def test_an_opaque_alpha_channel_changes_no_pixel() -> None:
    assert np.array_equal(pixels(saved(noise().convert("RGBA"))), np.asarray(noise()))


RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(1, 64).repeat(4, 0)


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(RAMP)),
        saved(Image.fromarray(RAMP), "TIFF"),
        saved(Image.fromarray(RAMP), "PPM"),
        saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.float32) / 65535), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.float32) / 257), "TIFF"),
    ],
)
def test_16_bits_are_scaled(data) -> None:
    assert np.abs(pixels(data)[0, :, 0] - RAMP[0] / 257).max() <= 1


def test_a_16_bit_png_in_colour_is_scaled_like_one_in_gray() -> None:
    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in RAMP)
    header = struct.pack(">IIBBBBB", 64, 4, 16, 2, 0, 0, 0)
    data = with_chunk(b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xaeB`\x82", b"IHDR", header, before=b"IEND")
    data = with_chunk(data, b"IDAT", zlib.compress(rows), before=b"IEND")
    assert np.array_equal(pixels(data), pixels(saved(Image.fromarray(RAMP))))


def test_values_without_a_known_range_are_rejected() -> None:
    data = saved(Image.fromarray(np.array([[-5.0, 3.0]], dtype=np.float32)), "TIFF")
    with pytest.raises(UnusableImageError, match="has values from -5 to 3"):
        normalised(data, LIMIT)
    with pytest.raises(UnusableImageError, match="has values from nan"):
        normalised(saved(Image.fromarray(np.array([[np.nan, 1]], dtype=np.float32)), "TIFF"), LIMIT)


@pytest.mark.parametrize(
    ("format_", "mode", "settings", "tolerance"),
    [
        ("PNG", "1", {}, 0),
        ("PNG", "P", {}, 0),
        ("PNG", "P", {"bits": 4}, 0),
        ("BMP", "RGB", {}, 0),
        ("BMP", "P", {}, 0),
        ("GIF", "P", {}, 0),
        ("PPM", "RGB", {}, 0),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}, 0),
        ("TIFF", "CMYK", {}, 0),
        ("TIFF", "LAB", {}, 40),
        ("TIFF", "YCbCr", {}, 3),
        ("WEBP", "RGB", {"lossless": True}, 0),
        ("JPEG", "CMYK", {"quality": 100}, 6),
    ],
)
def test_other_formats_and_modes_become_png(format_, mode, settings, tolerance) -> None:
    scene = Image.new("RGB", (32, 16), (250, 250, 250))
    scene.paste((200, 40, 30), (0, 0, 16, 16))
    if mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        original = ImageCms.applyTransform(scene, lab)
    else:
        original = scene.quantize(4) if mode == "P" else scene.convert(mode)
    data = saved(original, format_, **settings)
    image = normalised(data, LIMIT)
    assert media_type(image.data) == "image/png"
    assert image.notes
    expected = scene if mode in ("LAB", "YCbCr") else original.convert("RGB")
    assert np.abs(pixels(data) - np.asarray(expected).astype(int)).max() <= tolerance
    assert normalised(image.data, LIMIT).data is image.data  # the form is reached at once
    assert normalised(data, LIMIT).data == image.data


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_of_several_pictures_is_used_and_reported(format_) -> None:
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    data = saved(
        first,
        format_,
        save_all=True,
        append_images=[second, first],
        **({"lossless": True} if format_ == "WEBP" else {}),
    )
    assert np.abs(pixels(data)[8, 8] - (255, 0, 0)).max() <= 2
    assert any("first" in note for note in normalised(data, LIMIT).notes)
    with pytest.raises(UnusableImageError, match="is not in the form of stored images"):
        require_plain(data, LIMIT)


def _profile(gamma: float) -> bytes:
    """Build a small RGB profile with sRGB's primaries and another curve, as version 2 of ICC describes."""

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 78
    tags = {
        b"desc": text, b"wtpt": xyz(0.9642, 1, 0.8249), b"cprt": b"text\0\0\0\0x\0\0\0",
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971), b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", place + len(body), b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def test_a_profile_of_srgb_keeps_the_file_and_another_is_applied() -> None:
    gray = Image.new("RGB", (8, 8), (100, 100, 100))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format_ in ("PNG", "JPEG"):
        kept = saved(gray, format_, icc_profile=srgb)
        assert normalised(kept, LIMIT).data == kept
        converted = normalised(saved(gray, format_, icc_profile=_profile(1.0)), LIMIT)
        assert "colours converted to sRGB" in converted.notes
        # Linear light of 100/255 is 168 in sRGB.
        assert np.abs(np.asarray(plain_image(converted.data)).astype(int) - 168).max() <= 2
    linear = normalised(saved(gray.convert("L"), icc_profile=_profile(1.0)), LIMIT)
    assert Image.open(io.BytesIO(linear.data)).mode == "L"
    assert np.abs(np.asarray(plain_image(linear.data)).astype(int) - 168).max() <= 2


@pytest.mark.parametrize(
    "profile", [b"no profile", _profile(1.0)[:150], ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()]
)
def test_unusable_profiles_are_ignored(profile) -> None:
    data = saved(noise(), icc_profile=profile)
    assert normalised(data, LIMIT).data == data


def test_bytes_hold_no_metadata_and_do_not_depend_on_zlib() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("place", "secret")
    data = normalised(saved(noise().convert("RGBA"), pnginfo=info, dpi=(300, 300)), LIMIT).data
    kinds, place, packed = [], 8, b""
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        packed += data[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        kinds.append(kind)
        place += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    # Python's zlib is another implementation than Pillow's zlib-ng.
    encoder = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    assert packed[2:] == (encoder.compress(zlib.decompress(packed)) + encoder.flush())[2:]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 5000))
def test_scaled_images_fit_and_keep_their_proportions(width: int, height: int, most: int) -> None:
    data = png(width, height)
    scaled = scaled_down(data, most)
    size = plain_size(scaled)
    assert size[0] * size[1] <= max(most, *size)
    if width * height <= most:
        assert scaled == data
    elif min(size) > 10:
        assert size[0] / size[1] == pytest.approx(width / height, rel=0.15)
    assert scaled_down(data, None) == data


def test_threads_decode_side_by_side() -> None:
    data = saved(noise().convert("RGBA"))
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(normalised(data, LIMIT).data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(results) == 8
