"""The student's vision tower in a step: one pass for each state of its weights, shared by all that need what it sees.

Rollout, micro-batches and, while the towers are the same, the teacher take the features of one pass. They are leaves of the graphs of the
micro-batches: each adds its gradient to them, and the tower's own graph is walked through once, when all have.
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
    """Features of a batch's images.

    Args:
        encoded: features by image key, with the tower's graph where it is trained.
    """

    def __init__(self, encoded: Mapping[str, ImageFeatures]) -> None:
        self._encoded = [tensor for features in encoded.values() for tensor in _tensors(features)]
        self.values = {key: features.detach() for key, features in encoded.items()}
        """Features by image key, for forwards; gradients gather in them where the tower is trained."""
        self._leaves = [tensor for features in self.values.values() for tensor in _tensors(features)]
        for made, leaf in zip(self._encoded, self._leaves, strict=True):
            leaf.requires_grad_(made.requires_grad)

    def detached(self) -> dict[str, ImageFeatures]:
        """The same values, without gradient."""
        return {key: features.detach() for key, features in self.values.items()}

    def backward(self) -> None:
        """Sends the gathered gradients through the tower, once."""
        pairs = [
            (made, leaf.grad)
            for made, leaf in zip(self._encoded, self._leaves, strict=True)
            if made.requires_grad and leaf.grad is not None
        ]
        if pairs:
            torch.autograd.backward([made for made, _ in pairs], [gradient for _, gradient in pairs])


class StudentVision:
    """What the student sees.

    Args:
        spread: the student.
        recomputation: whether its tower keeps activations for the backward.
        frozen: features of its tower where that is not trained: it encodes an image once a run.
    """

    def __init__(self, spread: ParallelModel, recomputation: Recomputation, frozen: FrozenFeatures | None) -> None:
        self._spread = spread
        self._recomputation = recomputation
        self._frozen = frozen

    @property
    def encode(self) -> Encode | None:
        """What gives features of images without their graph, where the tower is frozen: each image is encoded once a run."""
        return None if self._frozen is None else self._frozen.of

    def of(self, images: Sequence[Pixels]) -> SharedFeatures:
        """Features of ``images`` as the tower is now."""
        if self._frozen is not None:
            return SharedFeatures(self._frozen.of(images))
        with torch.enable_grad(), self._recomputation.on():
            return SharedFeatures(self._spread.run(lambda: encode_images(self._spread.model, images)))


def _tensors(features: ImageFeatures) -> tuple[torch.Tensor, ...]:
    return features.tokens_NH, *features.deepstack_NH
