"""Videos as input of the vision tower, exactly as transformers' ``Qwen3VLVideoProcessor`` makes it.

That class requires torchvision. Its arithmetic is torch's: frames are resized in 8 bits (bicubic, with antialiasing), normalised, and
cut into patches that span ``temporal_patch_size`` frames. Frames have been sampled before, by ``vicur data prepare``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

from vicur.config.prompts import PixelBudget
from vicur.data.images import UnusableImageError, plain_image
from vicur.errors import VicurError

SETTINGS_FILE = "video_preprocessor_config.json"
_CAP_TOKENS = 768
_CAP_SLACK = 1.05


@dataclass(frozen=True)
class VideoProcessor:
    """Settings of a checkpoint's video processor."""

    patch_size: int
    temporal_patch_size: int
    merge_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale_factor: float
    shortest_edge: int  # smallest number of pixels of all frames together
    longest_edge: int  # largest one
    max_frame_tokens: int | None  # largest number of visual tokens of a frame, if the checkpoint caps it
    written: Mapping[str, Any] | None  # content of the checkpoint's file, which is saved with its students

    @classmethod
    def of(cls, image_processor: Any, written: Mapping[str, Any] | None = None) -> VideoProcessor:
        """Return the settings of a file, and those of the images for what it leaves out."""
        values = {**image_processor.to_dict(), **(written or {})}
        is_capped = bool(values.get("cap_pixels_per_frame"))
        return cls(
            patch_size=int(values["patch_size"]),
            temporal_patch_size=int(values["temporal_patch_size"]),
            merge_size=int(values["merge_size"]),
            mean=tuple(map(float, values["image_mean"])),
            std=tuple(map(float, values["image_std"])),
            rescale_factor=float(values["rescale_factor"]),
            shortest_edge=int(values["size"]["shortest_edge"]),
            longest_edge=int(values["size"]["longest_edge"]),
            max_frame_tokens=int(values.get("max_video_tokens", _CAP_TOKENS)) if is_capped else None,
            written=written,
        )

    @classmethod
    def load(cls, folder: Path, image_processor: Any) -> VideoProcessor:
        """Load the video settings of a checkpoint. Without such a file, they are those of its images, as in transformers.

        Raises:
            VicurError: if the file is not a video processor's.
        """
        path = folder / SETTINGS_FILE
        try:
            return cls.of(image_processor, json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise VicurError(
                f"the settings of videos cannot be read ({error!r:.200}).",
                where=str(path),
                remedy="Use the file of the Qwen3-VL checkpoint.",
            ) from error

    def save(self, folder: Path) -> None:
        """Save the settings next to a checkpoint, if it had a file of them."""
        if self.written is not None:
            text = json.dumps(self.written, indent=2, sort_keys=True, ensure_ascii=False)
            (folder / SETTINGS_FILE).write_text(f"{text}\n", encoding="utf-8")

    def grid(self, frames: int, width: int, height: int, budget: PixelBudget) -> tuple[int, int, int]:
        """Return the patches of a video in time, height and width. ``budget`` limits each frame.

        Raises:
            VicurError: if the sizes cannot be processed.
        """
        factor = self.patch_size * self.merge_size
        low, high = self.shortest_edge, self.longest_edge
        if self.max_frame_tokens is not None:
            cap = min(self.max_frame_tokens * factor**2, high // frames)
            high = max(cap, int(low * _CAP_SLACK)) * frames
        if budget.max is not None:
            high = min(high, budget.max * frames)
        if budget.min is not None:
            low = max(low, budget.min * frames)
        try:
            height_to, width_to = smart_resize(
                frames,
                height,
                width,
                temporal_factor=self.temporal_patch_size,
                factor=factor,
                min_pixels=min(low, high),
                max_pixels=high,
            )
        except ValueError as error:
            raise VicurError(
                f"the video of {frames} frames of {width} x {height} pixels cannot be processed ({error}).",
                remedy="Crop or pad the video and prepare the dataset again.",
            ) from error
        groups = -(-frames // self.temporal_patch_size)
        return groups, height_to // self.patch_size, width_to // self.patch_size

    def patches(self, frames: Sequence[bytes], grid: tuple[int, int, int]) -> Tensor:
        """Decode stored frames and return their patches, float32 [patches, channels * temporal * patch * patch].

        Raises:
            VicurError: if a frame cannot be decoded, or has another size than the first.
        """
        groups, rows, columns = grid
        frames_TCHW = self._normalised(_decoded(frames), rows * self.patch_size, columns * self.patch_size)
        missing = groups * self.temporal_patch_size - len(frames_TCHW)
        frames_TCHW = torch.cat([frames_TCHW, frames_TCHW[-1:].expand(missing, -1, -1, -1)])
        merge, patch = self.merge_size, self.patch_size
        # Patches of one merged token are neighbours.
        return (
            frames_TCHW.reshape(
                groups, self.temporal_patch_size, 3, rows // merge, merge, patch, columns // merge, merge, patch
            )
            .permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
            .reshape(groups * rows * columns, -1)
        )

    def timestamps(self, times: Sequence[float]) -> tuple[float, ...]:
        """Return the time of each group of frames: the mean of its first and last frame, of which the last group repeats one if need be."""
        size = self.temporal_patch_size
        groups = (times[first : first + size] for first in range(0, len(times), size))
        return tuple((group[0] + group[-1]) / 2 for group in groups)

    def _normalised(self, frames_TCHW: Tensor, height: int, width: int) -> Tensor:
        if frames_TCHW.shape[-2:] != (height, width):
            frames_TCHW = interpolate(
                frames_TCHW, size=[height, width], mode="bicubic", align_corners=False, antialias=True
            )
        # Rescaling is fused into the normalisation, as transformers does.
        mean, std = (
            torch.tensor(values)[:, None, None] * (1 / self.rescale_factor) for values in (self.mean, self.std)
        )
        return frames_TCHW.float().sub_(mean).div_(std)


def _decoded(frames: Sequence[bytes]) -> Tensor:
    """Decode frames to uint8 [T, 3, H, W]."""
    images = []
    for number, frame in enumerate(frames):
        try:
            images.append(np.asarray(plain_image(frame)))
        except UnusableImageError as error:
            raise VicurError(f"frame {number} cannot be used: it {error.reason}.", remedy=error.remedy) from error
        if images[-1].shape != images[0].shape:
            raise VicurError(
                f"frame {number} of the video has another size than the first.", remedy="Prepare the dataset again."
            )
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
