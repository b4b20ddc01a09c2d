"""Features of images from a vision tower that does not change while they are kept: each image is encoded once.

Each is encoded by itself. What an image's features are then does not depend on the batch in which it came first, to the last bit, and a
training that resumes with an empty memory makes the same updates as one that was never stopped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.features import FeatureCacheConfig
from vicur.modeling.chat import Pixels
from vicur.modeling.feature_files import FeatureFiles, tower_sha256
from vicur.modeling.vision import ImageFeatures, encode_images

_GB = 1_000_000_000


class FrozenFeatures:
    """Encodes images, and remembers what came of them: in memory, and behind it on disk where a place is given.

    Args:
        model: the model whose tower encodes; it stays as it is while this object is used.
        max_bytes: memory for features; those used last stay.
        files: where features lie on disk.
    """

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, max_bytes: int = _GB, files: FeatureFiles | None = None
    ) -> None:
        self._model = model
        self._files = files
        self._left = max_bytes
        self._known: OrderedDict[str, ImageFeatures] = OrderedDict()

    @classmethod
    def kept(cls, model: Qwen3VLForConditionalGeneration, settings: FeatureCacheConfig, folder: Path) -> FrozenFeatures:
        """With as much room in memory and below ``folder`` as the settings give. Files of another tower are never taken for this one's."""
        disk = round(settings.disk_gb * _GB)
        files = FeatureFiles(folder, tower_sha256(model), disk) if disk else None
        return cls(model, round(settings.memory_gb * _GB), files)

    @torch.no_grad()
    def of(self, images: Sequence[Pixels]) -> dict[str, ImageFeatures]:
        """Features by image key, without gradient; only images that are kept nowhere are encoded."""
        wanted = {image.key: image for image in images}
        found = {key: self._find(image) for key, image in wanted.items()}
        # What this call needs stays until it is answered, whatever it takes: the caller holds it anyway.
        while self._left < 0 and self._known:
            self._left += self._known.popitem(last=False)[1].size
        return found

    def _find(self, image: Pixels) -> ImageFeatures:
        if (known := self._known.get(image.key)) is not None:
            self._known.move_to_end(image.key)
            return known
        made = self._read(image) or self._encode(image)
        self._known[image.key] = made
        self._left -= made.size
        return made

    def _read(self, image: Pixels) -> ImageFeatures | None:
        return None if self._files is None else self._files.read(image.key, str(self._model.device))

    def _encode(self, image: Pixels) -> ImageFeatures:
        made = encode_images(self._model, [image])[image.key]
        if self._files is not None:
            self._files.write(image.key, made)
        return made
