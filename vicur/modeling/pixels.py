"""Images and videos as input of the vision tower. Grids follow from headers; what they show is decoded once its patches are needed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from vicur.config.prompts import PixelBudget
from vicur.data.images import UnusableImageError, plain_image, plain_size
from vicur.errors import VicurError
from vicur.modeling.patches import PatchCache
from vicur.modeling.videos import VideoProcessor

Grid = tuple[int, int, int]
"""Patches in time, height and width."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Input of the vision tower for one image or one video."""

    key: str  # SHA-256 of the encoded image, and its grid: equal keys have equal patches
    # Returns float32 [patches, channels * temporal * patch * patch]. Made on demand, because patches take a hundred
    # times the memory of the encoded image.
    patches: Callable[[], Tensor]
    grid: Grid
    tokens: int  # its visual tokens in a prompt
    encoded: bytes = field(default=b"", repr=False)  # an image for engines that process images themselves
    timestamps: tuple[float, ...] = ()  # time of each group of frames of a video, in seconds; empty for an image

    @property
    def is_video(self) -> bool:
        """Whether this is a video."""
        return bool(self.timestamps)

    @property
    def token_grid(self) -> Grid:
        """Frames, rows and columns of the visual tokens."""
        frames, height, width = self.grid
        merge = math.isqrt(frames * height * width // self.tokens)
        return frames, height // merge, width // merge

    @property
    def run_grids(self) -> list[Grid]:
        """Grids of the runs of visual tokens in a prompt: one of an image, and one of each group of frames of a video."""
        frames, rows, columns = self.token_grid
        return [(1, rows, columns)] * frames if self.is_video else [self.token_grid]


class PixelReader:
    """Reads stored images and videos for one checkpoint, with its image processor (``Qwen2VLImageProcessorPil``)."""

    def __init__(self, processor: Any, videos: VideoProcessor | None = None) -> None:
        self._processor = processor
        self._videos = videos or VideoProcessor.of(processor)
        self._patches = PatchCache()

    def size(self, budget: PixelBudget) -> dict[str, int]:
        """Return smallest and largest number of pixels within a budget, as the setting ``size`` of the processor."""
        low, high = budget.completed(self._processor.size["shortest_edge"], self._processor.size["longest_edge"])
        return {"shortest_edge": low, "longest_edge": high}

    def read(self, image: bytes, budget: PixelBudget) -> Pixels:
        """Read the header of a stored image. Its patches are cached, and made again if they have been evicted.

        Raises:
            VicurError: if the image is not in the stored form (:mod:`vicur.data.images`), or the processor rejects its size. Damage
                below the header is found once the patches are needed.
        """
        try:
            width, height = plain_size(image)
        except UnusableImageError as error:
            raise _undecodable(error) from error
        grid = self.grid(width, height, budget)
        key = f"{hashlib.sha256(image).hexdigest()}-{grid[1]}x{grid[2]}"
        tokens = math.prod(grid) // self._processor.merge_size**2
        patches = partial(self._patches.get, key, partial(self.patches, image, grid, budget))
        return Pixels(key, patches, grid, tokens, image)

    def read_video(self, frames: Sequence[bytes], times: Sequence[float], budget: PixelBudget) -> Pixels:
        """Read the header of a video's first stored frame. ``times`` are those of the frames, and ``budget`` limits each frame.

        Raises:
            VicurError: as :meth:`read`.
        """
        try:
            width, height = plain_size(frames[0])
        except UnusableImageError as error:
            raise _undecodable(error) from error
        grid = self._videos.grid(len(frames), width, height, budget)
        digest = hashlib.sha256(b"".join(hashlib.sha256(frame).digest() for frame in frames)).hexdigest()
        key = f"{digest}-{grid[0]}x{grid[1]}x{grid[2]}"
        tokens = math.prod(grid) // self._videos.merge_size**2
        patches = partial(self._patches.get, key, partial(self._videos.patches, tuple(frames), grid))
        return Pixels(key, patches, grid, tokens, timestamps=self._videos.timestamps(times))

    def grid(self, width: int, height: int, budget: PixelBudget) -> Grid:
        """Return the patches of an image of this size, as the processor resizes it to fit a budget.

        Raises:
            VicurError: if the processor rejects the aspect ratio.
        """
        processor, size = self._processor, self.size(budget)
        try:
            height_to, width_to = smart_resize(
                height,
                width,
                factor=processor.patch_size * processor.merge_size,
                min_pixels=size["shortest_edge"],
                max_pixels=size["longest_edge"],
            )
        except ValueError as error:
            raise VicurError(
                f"the image of {width} x {height} pixels cannot be processed ({error}).",
                remedy="Crop or pad the image and prepare the dataset again.",
            ) from error
        return 1, height_to // processor.patch_size, width_to // processor.patch_size

    def patches(self, image: bytes, grid: Grid, budget: PixelBudget) -> Tensor:
        """Decode a stored image and return its patches, resized to fit a budget."""
        try:
            rgb = plain_image(image)
        except UnusableImageError as error:
            raise _undecodable(error) from error
        processed = self._processor(images=[rgb], size=self.size(budget), return_tensors="pt")
        assert tuple(processed["image_grid_thw"][0].tolist()) == grid
        values_PD: Tensor = processed["pixel_values"].float()
        return values_PD


def _undecodable(error: UnusableImageError) -> VicurError:
    return VicurError(f"the image cannot be used: it {error.reason}.", remedy=error.remedy)
