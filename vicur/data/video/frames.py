"""Which frames of a video are kept, and in which size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vicur.config.video import VideoConfig
from vicur.data.images import MAX_ASPECT, UnusableImageError, normalised, plain_size, scaled_down

SAMPLE_AGAIN = "Convert it again, or lower data.video.fps."


class UnusableVideoError(ValueError):
    """A video that cannot be used, with the reason and a remedy."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class SampledVideo:
    """Frames of a video in the form of stored images, all of one size."""

    frames: tuple[bytes, ...]
    timestamps: tuple[float, ...]  # of each frame, in seconds from the start
    fps: float  # of the video itself
    notes: tuple[str, ...] = ()  # what was changed, in words that are the same for the same change


def frame_indices(total: int, fps: float, config: VideoConfig) -> list[int]:
    """Return the frames that are kept of ``total`` at ``fps`` frames per second, as ``Qwen3VLVideoProcessor.sample_frames`` does."""
    count = int(total / fps * config.fps)
    count = min(max(count, config.min_frames), config.max_frames, total)
    return [int(index) for index in np.linspace(0, total - 1, count).round()]


def timestamps(indices: Sequence[int], fps: float) -> tuple[float, ...]:
    """Return the times of frames in seconds, as ``Qwen3VLProcessor`` computes them."""
    return tuple(index / fps for index in indices)


def frame_size(width: int, height: int, frames: int, config: VideoConfig) -> tuple[int, int]:
    """Return the size in which frames are stored, so that all of them together have at most ``config.pixels`` pixels.

    Raises:
        UnusableVideoError: if one side is too long.
    """
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnusableVideoError(
            f"has frames of {width} x {height} pixels, but one side may be at most {MAX_ASPECT} times the other",
            "Crop or pad it.",
        )
    allowed = config.pixels / frames
    if width * height <= allowed:
        return width, height
    ratio = math.sqrt(allowed / (width * height))
    return max(1, math.floor(width * ratio)), max(1, math.floor(height * ratio))


def require_frames(total: int) -> None:
    """Check that a video has enough frames to be one.

    Raises:
        UnusableVideoError: if it has not.
    """
    if total == 0:
        raise UnusableVideoError("has no frames", "Add its frames, or remove the row.")
    if total == 1:
        raise UnusableVideoError("has only one frame", "Give it as an image, in the column images.")


def sampled_images(
    read: Sequence[Callable[[], bytes]], config: VideoConfig, max_pixels: int, fps: float | None = None
) -> SampledVideo:
    """Sample a video that is given as image files, in order.

    Args:
        read: functions that return the files, of which only those of kept frames are called.
        config: how frames are sampled.
        max_pixels: largest size of a file.
        fps: frames per second of the files; by default ``config.frame_rate``, or else ``config.fps``.

    Raises:
        UnusableVideoError: if the frames cannot be used.
    """
    require_frames(len(read))
    rate = fps or config.frame_rate or config.fps
    indices = frame_indices(len(read), rate, config)
    frames, notes = [], {}
    size = None
    for index in indices:
        try:
            image = normalised(read[index](), max_pixels)
            data = scaled_down(image.data, math.floor(config.pixels / len(indices)))
        except UnusableImageError as fault:
            raise UnusableVideoError(f"frame {index} {fault.reason}", fault.remedy) from fault
        if size not in (None, (image.width, image.height)):
            raise UnusableVideoError(
                f"frame {index} has {image.width} x {image.height} pixels, but the frames before it {size[0]} x {size[1]}",
                "Make all frames of a video the same size.",
            )
        size = image.width, image.height
        notes.update(dict.fromkeys(image.notes))
        frames.append(data)
    if plain_size(frames[0]) != size:
        notes["video: frames scaled down"] = None
    return SampledVideo(tuple(frames), timestamps(indices, rate), rate, tuple(notes))
