"""Gradient checkpointing: recompute a layer's activations in the backward instead of storing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_activations(model: PreTrainedModel, *, use_reentrant: bool = False) -> None:
    """Enable gradient checkpointing in a model's layers. It acts in training mode."""
    # transformers 5.20 renamed the method and deprecated the old name.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": use_reentrant})


class Recomputation:
    """Gradient checkpointing that can be limited to the forwards before a backward. If not ``enabled``, it does nothing."""

    def __init__(self, model: PreTrainedModel, *, enabled: bool) -> None:
        self._layers: list[nn.Module] = []
        if enabled:
            recompute_activations(model)
            self._layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Store only the inputs of layers in the forwards inside the block."""
        # transformers checkpoints in training mode, in which layers do not write the KV cache that rollouts need. The model itself stays in
        # evaluation mode: only these layers are switched, for as long as the block lasts.
        self._set_training(training=True)
        try:
            yield
        finally:
            self._set_training(training=False)

    def _set_training(self, *, training: bool) -> None:
        for layer in self._layers:
            layer.training = training
