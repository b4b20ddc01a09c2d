"""Cached image features from a frozen vision tower: each image is encoded once.

Images are encoded one at a time, so their features do not depend on the batch in which they first occur. A resumed training with an empty
cache therefore makes bit-identical updates.
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
    """Encode images with a model that does not change, and cache their features in memory and, optionally, on disk."""

    # The cache in memory evicts the least recently used features beyond max_bytes.
    def __init__(
        self, model: Qwen3VLForConditionalGeneration, max_bytes: int = _GB, files: FeatureFiles | None = None
    ) -> None:
        self._model = model
        self._files = files
        self._left = max_bytes
        self._cache: OrderedDict[str, ImageFeatures] = OrderedDict()

    @classmethod
    def cached(
        cls, model: Qwen3VLForConditionalGeneration, settings: FeatureCacheConfig, folder: Path
    ) -> FrozenFeatures:
        """Create a cache of the configured size in memory and below ``folder``, in a subfolder for this state of the tower."""
        disk = round(settings.disk_gb * _GB)
        files = FeatureFiles(folder, tower_sha256(model), disk) if disk else None
        return cls(model, round(settings.memory_gb * _GB), files)

    def has(self, image: Pixels) -> bool:
        """Return whether the features of an image are cached, so that its patches are not needed."""
        return image.key in self._cache or (self._files is not None and self._files.has(image.key))

    @torch.no_grad()
    def of(self, images: Sequence[Pixels]) -> dict[str, ImageFeatures]:
        """Return features by image key, without gradient. Encodes only images that are not cached."""
        distinct = {image.key: image for image in images}
        features = {key: self._lookup(image) for key, image in distinct.items()}
        # Evict only now: the caller holds the features of this call in any case.
        while self._left < 0 and self._cache:
            self._left += self._cache.popitem(last=False)[1].size
        return features

    def _lookup(self, image: Pixels) -> ImageFeatures:
        if (cached := self._cache.get(image.key)) is not None:
            self._cache.move_to_end(image.key)
            return cached
        features = self._read(image) or self._encode(image)
        self._cache[image.key] = features
        self._left -= features.size
        return features

    def _read(self, image: Pixels) -> ImageFeatures | None:
        return None if self._files is None else self._files.read(image.key, str(self._model.device))

    def _encode(self, image: Pixels) -> ImageFeatures:
        features = encode_images(self._model, [image])[image.key]
        if self._files is not None:
            self._files.write(image.key, features)
        return features
