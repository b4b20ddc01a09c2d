"""Gradient checkpointing: a layer's activations are computed again in the backward instead of being kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_activations(model: PreTrainedModel, *, use_reentrant: bool = False) -> None:
    """Lets the layers of ``model`` compute their activations again, in training mode.

    Args:
        model: the model.
        use_reentrant: which of PyTorch's two ways it is done in.
    """
    # Releases of transformers before 5.20 have it under the older of the two names, which is deprecated since.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": use_reentrant})


class Recomputation:
    """Switches gradient checkpointing on where a backward follows.

    transformers' layers do it in training mode. A student learns in evaluation mode (nothing of it is random), and answers with a KV cache,
    which layers that compute again do not write: so only the layers themselves are told, and only for as long as it lasts.

    Args:
        model: the model.
        enabled: whether to do anything at all.
    """

    def __init__(self, model: PreTrainedModel, *, enabled: bool) -> None:
        self._layers: list[nn.Module] = []
        if enabled:
            recompute_activations(model)
            self._layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Inside, forwards keep only the inputs of layers."""
        self._tell(training=True)
        try:
            yield
        finally:
            self._tell(training=False)

    def _tell(self, *, training: bool) -> None:
        for layer in self._layers:
            layer.training = training
