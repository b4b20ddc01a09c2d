"""Features of images on disk: a safetensors file an image, in a folder that belongs to one state of one vision tower.

A cache and nothing more: a file that is missing or damaged is one that was never written, and a disk that takes no more costs time alone.
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
    """SHA-256 over the vision tower of a model, in hex: its configuration, and its weights by name, type, shape and bytes."""
    tower = model.model.visual
    digest = hashlib.sha256(json.dumps(tower.config.to_dict(), sort_keys=True, default=str).encode())
    _add_tensors(digest, tower.state_dict())
    return digest.hexdigest()


class FeatureFiles:
    """The files of one tower.

    Nothing is removed to make room: images come round once an epoch, and there a cache that drops what was used longest ago would
    always have dropped what comes next.

    Args:
        folder: where the folders of towers lie.
        tower: hash of the tower, from :func:`tower_sha256`.
        max_bytes: what the files of this tower may take; beyond it, no more are written.
    """

    def __init__(self, folder: Path, tower: str, max_bytes: int) -> None:
        self._folder = folder / tower
        self._left = max_bytes - sum(file.stat().st_size for file in files_below(self._folder))

    def read(self, key: str, device: str) -> ImageFeatures | None:
        """Features of the image with this key, on ``device``; ``None`` where there is no sound file."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                said = (file.metadata() or {}).get(_SUM)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError):
            said, tensors = None, {}
        if said != _sha256(tensors) or _TOKENS not in tensors:
            log.warning("%s is damaged; the image is encoded again", path)
            return None
        layers = tuple(tensors[f"{_DEEPSTACK}.{n}"].to(device) for n in range(len(tensors) - 1))
        return ImageFeatures(tensors[_TOKENS].to(device), layers)

    def write(self, key: str, features: ImageFeatures) -> None:
        """Keeps the features of an image where there is room for them."""
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
            log.warning("features of images are no longer kept on disk: %s", error)
            self._left = 0

    def _path(self, key: str) -> Path:
        # Folders by the first digits stay small: a writer looks through its folder for what killed ones left.
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
