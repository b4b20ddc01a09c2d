"""How videos become frames, with the defaults of Qwen3-VL's video processor."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from vicur.config.section import Section


class VideoConfig(Section):
    """How frames are sampled from a video, and which videos are refused.

    ``vicur data prepare`` samples once, so these settings are part of the prepared dataset's identity.
    """

    fps: float = Field(2.0, gt=0, le=1000)
    """Frames per second that are kept."""
    min_frames: int = Field(4, ge=2, le=100_000)
    """Smallest number of frames, for short videos. A video that has fewer keeps all of them."""
    max_frames: int = Field(768, ge=2, le=100_000)
    """Largest number of frames. Longer videos are sampled more sparsely."""
    pixels: int = Field(25_165_824, ge=1024, le=4_000_000_000)
    """Largest number of pixels of all frames of a video together. Larger frames are scaled down. ``data.pixels`` limits each frame, too."""
    frame_rate: float | None = Field(default=None, gt=0, le=1000)
    """Frames per second of videos that are given as a folder or list of images. Default: ``fps``, so all of them are kept."""
    max_seconds: float = Field(3600, gt=0, le=1_000_000)
    """Longest video, in seconds."""
    decode_seconds: float = Field(120, gt=0, le=86_400)
    """CPU time for one video. A video that takes longer is not used."""

    @model_validator(mode="after")
    def _min_is_below_max(self) -> Self:
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames = {self.min_frames} is above max_frames = {self.max_frames}")
        return self


def is_default(video: VideoConfig) -> bool:
    """Return whether all settings have their default. Such a section is left out of identities."""
    return video == VideoConfig()
