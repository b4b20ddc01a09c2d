"""Encoding each image once, and sharing what came of it.

Rollout, training forward and teacher see the same images. ``forward`` of transformers' Qwen3-VL takes features in place of pixels
(``mm_encoder_outputs``), so an image is encoded once for each distinct state of a vision tower's weights.
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
    """What a vision tower makes of one image.

    Attributes:
        tokens_NH: visual tokens for the prompt [tokens, H].
        deepstack_NH: features that are added after the first decoder layers, one [tokens, H] a deepstack layer.
    """

    tokens_NH: Tensor
    deepstack_NH: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Bytes that the features take."""
        return sum(t.numel() * t.element_size() for t in (self.tokens_NH, *self.deepstack_NH))

    def to(self, device: torch.device) -> ImageFeatures:
        """The same on another device."""
        return ImageFeatures(self.tokens_NH.to(device), tuple(layer.to(device) for layer in self.deepstack_NH))

    def detach(self) -> ImageFeatures:
        """The same values without their graph."""
        return ImageFeatures(self.tokens_NH.detach(), tuple(f.detach() for f in self.deepstack_NH))


Encode = Callable[[Sequence[Pixels]], Mapping[str, ImageFeatures]]
"""Gives the features of images, by their keys."""


def encode_images(model: Qwen3VLForConditionalGeneration, images: Sequence[Pixels]) -> dict[str, ImageFeatures]:
    """Encodes the distinct images among ``images`` in one pass of the vision tower; gradients flow where they are enabled.

    Returns:
        Features by image key; empty for no images.
    """
    distinct = list({image.key: image for image in images}.values())
    if not distinct:
        return {}
    device = model.device
    grids = torch.tensor([image.grid for image in distinct], dtype=torch.long, device=device)
    made = model.model.get_image_features(
        torch.cat([i.patches() for i in distinct]).to(device), grids, return_dict=True
    )
    return {
        image.key: ImageFeatures(made.pooler_output[n], tuple(layer[n] for layer in made.deepstack_features))
        for n, image in enumerate(distinct)
    }


def encoder_outputs(
    features: Mapping[str, ImageFeatures], images: Sequence[Pixels]
) -> dict[str, BaseModelOutputWithDeepstackFeatures] | None:
    """Features of a batch's images, in order, in the form that ``forward`` takes; ``None`` for a batch without images."""
    if not images:
        return None
    rows = [features[image.key] for image in images]
    return {
        "image": BaseModelOutputWithDeepstackFeatures(
            # A tuple with one tensor an image, as get_image_features makes it; the class declares tensors.
            pooler_output=tuple(row.tokens_NH for row in rows),  # type: ignore[arg-type]
            deepstack_features=[tuple(layer) for layer in zip(*(row.deepstack_NH for row in rows), strict=True)],  # type: ignore[misc]
        )
    }
