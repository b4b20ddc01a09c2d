"""The frames of Video-MME's videos, drawn once: every model answers about the same frames."""

from __future__ import annotations

import re
from pathlib import Path

from vicur.config.video import VideoConfig
from vicur.data.schema import UnusableRowError
from vicur.data.video import SampledVideo, UnusableVideoError, sampled_file
from vicur.evaluation.benchmarks.videomme import FRAMES

PIXELS = 401_408
"""Largest frame of the paper's evaluation, in pixels."""
_MAX_PIXELS = 64_000_000
# As many frames as the video has, up to FRAMES, whatever its length; 64 frames of the largest size of a prompt.
SAMPLING = VideoConfig(
    fps=1000, min_frames=2, max_frames=FRAMES, pixels=FRAMES * PIXELS, max_seconds=7200, decode_seconds=3600
)


def sampled_video(folder: Path, name: str) -> SampledVideo:
    """Return the frames of ``video/<name>.mp4`` below a folder.

    Raises:
        UnusableRowError: if the file is missing or cannot be decoded.
    """
    # The name comes from the file: it must not lead out of the folder.
    if not re.fullmatch(r"[\w-][\w.-]{0,120}", name):
        raise UnusableRowError("video", f"{name[:80]!r} is not the name of a video", "Use the benchmark's own file.")
    path = folder / "video" / f"{name}.mp4"
    if not path.is_file() or path.is_symlink():
        raise UnusableRowError("video", f"video/{name}.mp4 is not there", "Unpack all archives of videos into video/.")
    try:
        return sampled_file(path, SAMPLING, _MAX_PIXELS)
    except UnusableVideoError as fault:
        raise UnusableRowError("video", f"video/{name}.mp4 {fault.reason}", fault.remedy) from fault
