"""Image features on disk: one safetensors file per image, in a folder for each state of a vision tower.

This is a cache: a missing or damaged file counts as absent, and a full disk only costs time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.errors import VicurError
from vicur.modeling.vision import ImageFeatures
from vicur.storage.folders import files_below, new_file

log = logging.getLogger(__name__)

_TOKENS, _DEEPSTACK, _SUM = "tokens", "deepstack", "sha256"


def tower_sha256(model: Qwen3VLForConditionalGeneration) -> str:
    """Hash a model's vision tower: its configuration, and its weights by name, type, shape and bytes."""
    tower = model.model.visual
    digest = hashlib.sha256(json.dumps(tower.config.to_dict(), sort_keys=True, default=str).encode())
    _add_tensors(digest, tower.state_dict())
    return digest.hexdigest()


class FeatureFiles:
    """Files of one vision tower, identified by :func:`tower_sha256`, in a subfolder of ``folder``."""

    def __init__(self, folder: Path, tower: str, max_bytes: int) -> None:
        self._folder = folder / tower
        self._left = max_bytes - sum(file.stat().st_size for file in files_below(self._folder))

    def has(self, key: str) -> bool:
        """Return whether there is a file for an image. It may be damaged."""
        return self._path(key).exists()

    def read(self, key: str, device: str) -> ImageFeatures | None:
        """Return the features of an image on ``device``, or ``None`` if its file is missing or damaged."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                checksum = (file.metadata() or {}).get(_SUM)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            checksum, tensors = None, {}
        if checksum != _sha256(tensors) or _TOKENS not in tensors:
            log.warning("%s is damaged; encoding the image again", path)
            return None
        layers = tuple(tensors[f"{_DEEPSTACK}.{n}"].to(device) for n in range(len(tensors) - 1))
        return ImageFeatures(tensors[_TOKENS].to(device), layers)

    def write(self, key: str, features: ImageFeatures) -> None:
        """Save the features of an image if there is room for them."""
        # Never evict: images recur once per epoch, so an LRU cache that is too small would always have evicted the next one.
        if features.size > self._left:
            return
        layers = {f"{_DEEPSTACK}.{n}": layer for n, layer in enumerate(features.deepstack_NH)}
        tensors = {name: t.detach().cpu().contiguous() for name, t in {_TOKENS: features.tokens_NH, **layers}.items()}
        path = self._path(key)
        try:
            with new_file(path) as partial:
                save_file(tensors, partial, metadata={_SUM: _sha256(tensors)})
            self._left -= path.stat().st_size
        except (OSError, SafetensorError, VicurError) as error:
            log.warning("Cannot write image features to disk; they are cached in memory only from now on: %s", error)
            self._left = 0

    def _path(self, key: str) -> Path:
        # Folders by prefix stay small: each write scans its folder for leftovers of killed writers.
        return self._folder / key[:2] / f"{key}.safetensors"


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    _add_tensors(digest, tensors)
    return digest.hexdigest()


def _add_tensors(digest: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
