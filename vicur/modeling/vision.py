"""Encode each image, or video, once and share its features.

Rollout, training forward and teacher use the same images. transformers' Qwen3-VL accepts features instead of pixels
(``mm_encoder_outputs``), so an image is encoded once per state of a vision tower's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from vicur.modeling.chat import Pixels


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of one image from a vision tower."""

    tokens_NH: Tensor  # visual tokens for the prompt
    deepstack_NH: tuple[Tensor, ...]  # added to the states after the first decoder layers, one per deepstack layer

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(t.numel() * t.element_size() for t in (self.tokens_NH, *self.deepstack_NH))

    def to(self, device: torch.device) -> ImageFeatures:
        return ImageFeatures(self.tokens_NH.to(device), tuple(layer.to(device) for layer in self.deepstack_NH))

    def detach(self) -> ImageFeatures:
        return ImageFeatures(self.tokens_NH.detach(), tuple(f.detach() for f in self.deepstack_NH))


# Returns the features of images by image key.
Encode = Callable[[Sequence[Pixels]], Mapping[str, ImageFeatures]]


def encode_images(model: Qwen3VLForConditionalGeneration, images: Sequence[Pixels]) -> dict[str, ImageFeatures]:
    """Encode the distinct images in one pass of the vision tower, with gradients if they are enabled. Returns features by image key."""
    distinct = list({image.key: image for image in images}.values())
    if not distinct:
        return {}
    device = model.device
    grids = torch.tensor([image.grid for image in distinct], dtype=torch.long, device=device)
    # Of videos, too: transformers encodes them in the same way.
    outputs = model.model.get_image_features(
        torch.cat([i.patches() for i in distinct]).to(device), grids, return_dict=True
    )
    return {
        image.key: ImageFeatures(outputs.pooler_output[n], tuple(layer[n] for layer in outputs.deepstack_features))
        for n, image in enumerate(distinct)
    }


def encoder_outputs(
    features: Mapping[str, ImageFeatures], images: Sequence[Pixels]
) -> dict[str, BaseModelOutputWithDeepstackFeatures] | None:
    """Return the features of a batch's images and videos, in order, as the argument ``mm_encoder_outputs``; ``None`` without any."""
    kinds = {
        "image": [features[image.key] for image in images if not image.is_video],
        "video": [features[image.key] for image in images if image.is_video],
    }
    return {kind: _output(rows) for kind, rows in kinds.items() if rows} or None


def _output(rows: Sequence[ImageFeatures]) -> BaseModelOutputWithDeepstackFeatures:
    return BaseModelOutputWithDeepstackFeatures(
        # A tuple with one tensor per image, as get_image_features returns it, although the class declares a tensor.
        pooler_output=tuple(row.tokens_NH for row in rows),  # type: ignore[arg-type]
        deepstack_features=[tuple(layer) for layer in zip(*(row.deepstack_NH for row in rows), strict=True)],  # type: ignore[misc]
    )
