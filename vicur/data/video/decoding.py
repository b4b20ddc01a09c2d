"""Decode a video file with PyAV and keep its sampled frames. Runs in a separate process: :mod:`vicur.data.video.worker`.

Only containers and codecs of lists are opened. FFmpeg's other demuxers include playlists, which name further files and addresses.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from vicur.config.video import VideoConfig
from vicur.data.images import encode_plain
from vicur.data.video.frames import (
    SampledVideo,
    UnusableVideoError,
    frame_indices,
    frame_size,
    require_frames,
    timestamps,
)

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from PIL import Image

_CODECS = {
    *("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mpeg1video", "mpeg2video", "h263", "msmpeg4v3"),
    *("mjpeg", "gif", "png", "ffv1", "rawvideo", "theora", "wmv2", "prores"),
}
"""Decoders by FFmpeg's names."""
_LOSSLESS = {"gif", "png", "ffv1", "rawvideo"}
_QUALITY = 95  # of the JPEGs of a lossy video's frames, which would take ten times the room as PNGs
_WITH_ALPHA = ("rgba", "bgra", "argb", "abgr", "yuva", "gbrap", "ya8", "pal8")
_MOST_RATE = 1000  # frames per second
_TRUNCATED = "Fetch or convert it again."
_SLACK = 0.1  # share of a stream's stated duration by which its last frame may end early
_DAMAGED = "Convert it again (ffmpeg -i old.mp4 new.mp4), or remove the row."


def container_format(start: bytes) -> str | None:
    """Return FFmpeg's name of the container that a file with these first bytes is, or ``None`` for any other file."""
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"  # also MP4 and 3GP
    if start.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"  # also WebM
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    return "gif" if start.startswith(b"GIF8") else None


def decoded(source: BinaryIO, config: VideoConfig, max_pixels: int) -> SampledVideo:
    """Sample the frames of a video file, in the form of stored images.

    Raises:
        UnusableVideoError: if the file is damaged, truncated, too long or too large, or not a video of a known format.
    """
    with _faults():
        total, fps = _counted(source, config, max_pixels)
        require_frames(total)
        # Some packets of VP8 have no frame that is shown, so a first decoding may find fewer frames than packets.
        for _ in range(2):
            indices = frame_indices(total, fps, config)
            found, frames, notes = _frames(source, indices, config, max_pixels)
            if found == total:
                return SampledVideo(tuple(frames), timestamps(indices, fps), fps, tuple(notes))
            total = found
            require_frames(total)
        raise UnusableVideoError("has a changing number of frames", _DAMAGED)


@contextmanager
def _faults() -> Iterator[None]:
    """Convert whatever FFmpeg raises to :class:`UnusableVideoError`."""
    try:
        yield
    except UnusableVideoError:
        raise
    except MemoryError:
        raise UnusableVideoError("needs too much memory to be decoded", "Scale it down.") from None
    except Exception as error:  # decoders raise arbitrary exceptions for damaged files
        why = str(getattr(error, "strerror", "") or error or type(error).__name__)
        raise UnusableVideoError(f"is a damaged or incomplete video ({why})", _DAMAGED) from error


@contextmanager
def _opened(source: BinaryIO, max_pixels: int) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    import av

    source.seek(0)
    name = container_format(source.read(12))
    if name is None:
        raise UnusableVideoError(
            "is not a video of a known format (MP4, MOV, WebM, MKV, AVI, GIF)", "Convert it: ffmpeg -i video new.mp4."
        )
    source.seek(0)
    options = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif", "protocol_whitelist": "pipe"}
    with av.open(source, mode="r", format=name, options=options, metadata_errors="ignore") as container:
        # Cover pictures are streams of one frame.
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise UnusableVideoError("has no video stream", "Give a video, or remove the row.")
        stream = streams[0]
        codec = stream.codec_context
        if codec is None or codec.codec.name not in _CODECS:
            raise UnusableVideoError(
                f"has a codec that is not read ({getattr(codec, 'name', None) or 'unknown'})",
                "Convert it: ffmpeg -i video new.mp4.",
            )
        if codec.width * codec.height > max_pixels:
            raise UnusableVideoError(
                f"has frames of {codec.width} x {codec.height} pixels, but at most {max_pixels} pixels are allowed",
                "Scale it down, or raise data.max_pixels.",
            )
        codec.thread_count = 1
        # Checked by the decoder before it allocates a frame, whose size may differ from the container's.
        codec.options = {"max_pixels": str(max_pixels)}
        yield container, stream


def _counted(source: BinaryIO, config: VideoConfig, max_pixels: int) -> tuple[int, float]:
    """Return number and rate of the frames. Only the container is read."""
    count, seen, end = 0, 0, None
    with _opened(source, max_pixels) as (container, stream):
        most = math.ceil(config.max_seconds * _MOST_RATE)
        start = None
        for packet in container.demux(stream):
            # A trimmed file keeps frames outside its edit list, which the container's index counts.
            seen += packet.size > 0
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.is_corrupt:
                raise UnusableVideoError("is truncated or damaged", _TRUNCATED)
            count += 1
            if count > most:
                raise UnusableVideoError(
                    f"has more than {most} frames", "Cut it into parts, or raise data.video.max_seconds."
                )
            if packet.pts is not None:
                start = packet.pts if start is None else min(start, packet.pts)
                end = max(end or 0, packet.pts + (packet.duration or 0))
        if len(stream.index_entries) > seen:
            raise UnusableVideoError(
                f"is truncated: {seen} of {len(stream.index_entries)} frames are there", _TRUNCATED
            )
        base = stream.time_base or 0
        spanned = float((end - start) * base) if start is not None and end is not None else 0.0
        stated = _stated_seconds(container, stream)
        if stated is not None and spanned < stated * (1 - _SLACK) - 1:
            raise UnusableVideoError(f"is truncated: {spanned:.1f} of {stated:.1f} seconds are there", _TRUNCATED)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate <= _MOST_RATE:
        rate = count / spanned if spanned > 0 else 0.0
    if count > 1 and not 0 < rate <= _MOST_RATE:
        raise UnusableVideoError(f"has a frame rate that cannot be used ({rate:g})", _DAMAGED)
    if count > 1 and count > config.max_seconds * rate:
        raise UnusableVideoError(
            f"lasts {count / rate:,.0f} seconds, but at most {config.max_seconds:,g} are allowed",
            "Cut it into parts, or raise data.video.max_seconds.",
        )
    return count, rate


def _stated_seconds(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Return the duration that the file states for its video, or ``None`` if it states none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The container's duration is that of its longest stream.
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / 1_000_000
    return None


def _frames(
    source: BinaryIO, indices: list[int], config: VideoConfig, max_pixels: int
) -> tuple[int, list[bytes], dict[str, None]]:
    """Decode all frames and return their number, those at ``indices`` as stored images, and notes."""
    frames: list[bytes] = []
    notes: dict[str, None] = {}
    wanted = iter(indices)
    following = next(wanted, None)
    first, found = None, 0
    with _opened(source, max_pixels) as (container, stream):
        is_lossless = stream.codec_context.codec.name in _LOSSLESS
        aspect = stream.sample_aspect_ratio
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise UnusableVideoError(f"is damaged: frame {found} cannot be decoded completely", _DAMAGED)
            first = first or (frame.width, frame.height, frame.rotation)
            if (frame.width, frame.height, frame.rotation) != first:
                raise UnusableVideoError(
                    f"changes the size of its frames from {first[0]} x {first[1]} to {frame.width} x {frame.height}",
                    _DAMAGED,
                )
            while following == found:
                image = _upright(_picture(frame), frame.rotation, float(aspect or 1), notes)
                size = frame_size(*image.size, len(indices), config)
                if size != image.size:
                    notes["video: frames scaled down"] = None
                frames.append(_encoded(image, size, is_lossless))
                following = next(wanted, None)
            found += 1
    return found, frames, notes


def _picture(frame: av.VideoFrame) -> Image.Image:
    """Return a frame in RGB, on white where it is transparent."""
    from av.video.reformatter import Interpolation
    from PIL import Image

    # Equal bytes on every processor: FFmpeg's faster conversions differ between instruction sets.
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
    if not frame.format.name.startswith(_WITH_ALPHA):
        return Image.fromarray(frame.to_ndarray(format="rgb24", interpolation=exact))
    picture = Image.fromarray(frame.to_ndarray(format="rgba", interpolation=exact))
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _upright(image: Image.Image, rotation: int, aspect: float, notes: dict[str, None]) -> Image.Image:
    """Return a frame as players show it: in its proportions, and turned as its display matrix says."""
    from PIL import Image

    if aspect != 1 and 1 / 16 <= aspect <= 16:
        notes["video: pixels made square"] = None
        image = image.resize((max(1, round(image.width * aspect)), image.height), Image.Resampling.BICUBIC)
    turned = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    if (turn := turned.get(rotation % 360)) is not None:
        notes["video: rotated"] = None
        image = image.transpose(turn)
    return image


def _encoded(image: Image.Image, size: tuple[int, int], is_lossless: bool) -> bytes:
    from PIL import Image

    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if is_lossless:
        return encode_plain(image)
    buffer = io.BytesIO()
    image.info.clear()
    # Without subsampling: the video's own has already taken what it takes.
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()
