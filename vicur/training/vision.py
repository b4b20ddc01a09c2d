"""The student's vision tower in a step: one pass for each state of its weights.

Rollout, micro-batches and (while its tower has the same weights) the teacher share the features of one pass. In the graphs of the
micro-batches these are leaves that accumulate gradients. Once all micro-batches are done, one backward through the tower uses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from vicur.modeling.chat import Pixels
from vicur.modeling.features import FrozenFeatures
from vicur.modeling.vision import Encode, ImageFeatures, encode_images
from vicur.training.parallel import ParallelModel
from vicur.training.recompute import Recomputation


class SharedFeatures:
    """Features of a batch's images, given those that the tower returned, with its graph if it is trained."""

    def __init__(self, encoded: Mapping[str, ImageFeatures]) -> None:
        self._encoded = [tensor for features in encoded.values() for tensor in _tensors(features)]
        # By image key, as leaves for the forwards of micro-batches.
        self.values = {key: features.detach() for key, features in encoded.items()}
        self._leaves = [tensor for features in self.values.values() for tensor in _tensors(features)]
        for encoded_tensor, leaf in zip(self._encoded, self._leaves, strict=True):
            leaf.requires_grad_(encoded_tensor.requires_grad)

    def detached(self) -> dict[str, ImageFeatures]:
        """Return the features without gradient."""
        return {key: features.detach() for key, features in self.values.items()}

    def backward(self) -> None:
        """Propagate the accumulated gradients through the tower."""
        pairs = [
            (encoded, leaf.grad)
            for encoded, leaf in zip(self._encoded, self._leaves, strict=True)
            if encoded.requires_grad and leaf.grad is not None
        ]
        if pairs:
            torch.autograd.backward([encoded for encoded, _ in pairs], [gradient for _, gradient in pairs])


class StudentVision:
    """The student's vision tower. ``frozen`` are cached features, if it is not trained."""

    def __init__(self, parallel: ParallelModel, recomputation: Recomputation, frozen: FrozenFeatures | None) -> None:
        self._parallel = parallel
        self._recomputation = recomputation
        self._frozen = frozen

    @property
    def frozen_encoder(self) -> Encode | None:
        """The cached encoder of a frozen tower; ``None`` if the tower is trained."""
        return None if self._frozen is None else self._frozen.of

    def has(self, image: Pixels) -> bool:
        """Return whether the features of an image are cached, which they can be if the tower is frozen."""
        return self._frozen is not None and self._frozen.has(image)

    def encode(self, images: Sequence[Pixels]) -> SharedFeatures:
        """Return the features of ``images`` with the tower's current weights."""
        if self._frozen is not None:
            return SharedFeatures(self._frozen.of(images))
        with torch.enable_grad(), self._recomputation.active():
            return SharedFeatures(self._parallel.run(lambda: encode_images(self._parallel.model, images)))


def _tensors(features: ImageFeatures) -> tuple[torch.Tensor, ...]:
    return features.tokens_NH, *features.deepstack_NH
