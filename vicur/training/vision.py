"""The student's vision tower in a step: one pass for each state of its weights, shared by all that need what it sees.

Rollout, micro-batches and, while the towers are the same, the teacher take the features of one pass. They are leaves of the graphs of the
micro-batches: each adds its gradient to them, and the tower's own graph is walked through once, when all have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.modeling.chat import Pixels
from vicur.modeling.vision import ImageFeatures, encode_images
from vicur.training.features import FrozenFeatures


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
        student: the student.
        trained: whether its tower is trained; one that is not encodes an image once a run.
    """

    def __init__(self, student: Qwen3VLForConditionalGeneration, *, trained: bool) -> None:
        self._student = student
        self._frozen = None if trained else FrozenFeatures(student)

    def of(self, images: Sequence[Pixels]) -> SharedFeatures:
        """Features of ``images`` as the tower is now."""
        if self._frozen is not None:
            return SharedFeatures(self._frozen.of(images))
        with torch.enable_grad():
            return SharedFeatures(encode_images(self._student, images))


def _tensors(features: ImageFeatures) -> tuple[torch.Tensor, ...]:
    return features.tokens_NH, *features.deepstack_NH
