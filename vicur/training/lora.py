"""LoRA on a student, through ``peft``: its linear layers are replaced in place, so that all other code sees the model that it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    """Pattern of the modules that get an update. Cue recovery, which has projections of the same names, is not among them."""
    text = rf"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.({'|'.join(settings.projections)})"
    return f"({text}|{_VISION})" if settings.vision else text


class Adapters:
    """The low-rank updates of a student. They begin as zero: at step 0 the student is its base.

    Args:
        student: the student; only the updates are left trainable.
        settings: rank, scale and which layers.
        seed: root seed of the updates' weights.
    """

    def __init__(self, student: Qwen3VLForConditionalGeneration, settings: Lora, seed: int) -> None:
        config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=target_pattern(settings))
        # peft draws from the global generator, on the CPU.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(substream(seed, "lora"))
            self._tuner = LoraModel(student, config, _ADAPTER)
        student.eval()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, the student computes what its frozen backbone computes."""
        self._tuner.disable_adapter_layers()
        try:
            yield
        finally:
            self._tuner.enable_adapter_layers()

    def merge(self) -> None:
        """Adds the updates to the weights and puts the plain layers back: the student can be saved. It cannot be trained on."""
        self._tuner.merge_and_unload(progressbar=False)


def merged_parameters(
    student: Qwen3VLForConditionalGeneration, whole: Callable[[Tensor], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The parameters that :meth:`Adapters.merge` would leave, under their names; the student stays as it is.

    Args:
        student: with low-rank updates or without.
        whole: makes a parameter whole that is sharded.
    """
    updated = {name: module for name, module in student.named_modules() if isinstance(module, Linear)}
    for name, weight in student.named_parameters():
        path, _, kind = name.rpartition(".")
        layer = updated.get(path.removesuffix(".base_layer"))
        if layer is not None and kind == "weight":
            low, high = (whole(part[_ADAPTER].get_parameter("weight")) for part in (layer.lora_A, layer.lora_B))
            yield name.replace(".base_layer.", "."), whole(weight).float() + (high @ low) * layer.scaling[_ADAPTER]
        elif ".lora_A." not in name and ".lora_B." not in name:
            yield name.replace(".base_layer.", "."), whole(weight)
