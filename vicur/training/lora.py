"""LoRA through ``peft``, which replaces linear layers in place: all other code sees the same student."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import LoraConfig
from peft.tuners.lora import Linear, LoraModel
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.trained import Lora
from vicur.seeds import substream

_ADAPTER = "default"
_VISION = r"model\.visual\.(blocks\.\d+\.attn\.(qkv|proj)|blocks\.\d+\.mlp\.linear_fc[12]|(deepstack_)?merger(_list\.\d+)?\.linear_fc[12])"


def target_pattern(settings: Lora) -> str:
    """Return a pattern of the modules that get an update."""
    # Anchored at the decoder layers, since cue recovery has projections of the same names.
    text = rf"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.({'|'.join(settings.projections)})"
    return f"({text}|{_VISION})" if settings.vision else text


class Adapters:
    """The low-rank updates of a student, of which only these remain trainable.

    They start at zero, so at step 0 the student equals its base.
    """

    def __init__(self, student: Qwen3VLForConditionalGeneration, settings: Lora, seed: int) -> None:
        config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=target_pattern(settings))
        # peft initialises from PyTorch's global generator, on the CPU.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(substream(seed, "lora"))
            self._tuner = LoraModel(student, config, _ADAPTER)
        student.eval()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Switch the updates off inside the block."""
        self._tuner.disable_adapter_layers()
        try:
            yield
        finally:
            self._tuner.enable_adapter_layers()

    def merge(self) -> None:
        """Add the updates to the weights and restore the plain layers, to save the student. It cannot be trained afterwards."""
        self._tuner.merge_and_unload(progressbar=False)


@dataclass(frozen=True, eq=False)
class MergedParameter:
    """A parameter that :meth:`Adapters.merge` would leave, and the (possibly sharded) tensors that it is computed from."""

    name: str
    sources: tuple[
        Tensor, ...
    ]  # the weight and, if it has a low-rank update, its factors A [rank, columns] and B [rows, rank]
    scaling: float = 1.0

    def value(self, full: Sequence[Tensor]) -> Tensor:
        """Return the parameter from the full tensors of its sources. A merged one is in float32."""
        if len(full) == 1:
            return full[0]
        weight, low, high = full
        return weight.float() + (high @ low) * self.scaling


def merged_parameters(student: Qwen3VLForConditionalGeneration) -> Iterator[MergedParameter]:
    """Yield the parameters that :meth:`Adapters.merge` would leave, without changing the student."""
    updated = {name: module for name, module in student.named_modules() if isinstance(module, Linear)}
    for name, weight in student.named_parameters():
        path, _, kind = name.rpartition(".")
        layer = updated.get(path.removesuffix(".base_layer"))
        plain = name.replace(".base_layer.", ".")
        if layer is not None and kind == "weight":
            low, high = (part[_ADAPTER].get_parameter("weight") for part in (layer.lora_A, layer.lora_B))
            yield MergedParameter(plain, (weight, low, high), layer.scaling[_ADAPTER])
        elif ".lora_A." not in name and ".lora_B." not in name:
            yield MergedParameter(plain, (weight,))
