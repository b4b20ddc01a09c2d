"""Features of images from a tower that does not change, kept so that each image is encoded once a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.modeling.chat import Pixels
from vicur.modeling.vision import ImageFeatures, encode_images

_MAX_BYTES = 1 << 30


class FrozenFeatures:
    """Encodes images with a frozen tower, and remembers as many as fit into ``max_bytes`` (those used last)."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, max_bytes: int = _MAX_BYTES) -> None:
        self._model = model
        self._left = max_bytes
        self._known: OrderedDict[str, ImageFeatures] = OrderedDict()

    @torch.no_grad()
    def of(self, images: Sequence[Pixels]) -> dict[str, ImageFeatures]:
        """Features by image key, without gradient; only images that are not remembered are encoded."""
        wanted = {image.key: image for image in images}
        found = encode_images(self._model, [image for key, image in wanted.items() if key not in self._known])
        self.remember(found)
        return {key: found.get(key) or self._recall(key) for key in wanted}

    def remember(self, features: dict[str, ImageFeatures]) -> None:
        """Takes over features that the same weights made elsewhere."""
        for key, value in features.items():
            if key in self._known:
                continue
            self._known[key] = value.detach()
            self._left -= _bytes(value)
        # What this call brought stays, whatever it takes: the caller is about to use it.
        while self._left < 0 and len(self._known) > len(features):
            self._left += _bytes(self._known.popitem(last=False)[1])

    def _recall(self, key: str) -> ImageFeatures:
        self._known.move_to_end(key)
        return self._known[key]


def _bytes(features: ImageFeatures) -> int:
    return sum(t.numel() * t.element_size() for t in (features.tokens_NH, *features.deepstack_NH))
