"""Weights of a training in vLLM: how they are put in, and what is held afterwards.

vLLM joins projections, pads the vocabulary and, on a CPU, packs matrices for its kernels and lets go of the originals. What it holds is
told here under the trainer's names and in the trainer's shapes, so that both sides can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from vicur.modeling.weight_sums import weight_sums

AWAITED = "vicur_awaited"
"""Load format of a model whose weights come later."""

_PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "visual.": "model.visual.",
    "cue_recovery.": "model.cue_recovery.",
}
_JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


@register_model_loader(AWAITED)
class AwaitedWeights(BaseModelLoader):
    """Leaves a model at zero. vLLM's dummy weights are no choice: they overwrite the constants, too, that pixels are normalised with."""

    def download_model(self, model_config: Any) -> None:
        """Nothing is downloaded."""

    def load_weights(self, model: nn.Module, model_config: Any) -> None:  # noqa: ARG002
        """Puts zeros in."""
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()


def take_weights(worker: Any, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Puts a training's weights into a worker's model, all of them.

    Args:
        worker: vLLM's worker, which has the whole model.
        weights: the trainer's, by its names. They may be gone afterwards.

    Returns:
        Sums of what the model computes with now, by the trainer's names.
    """
    # Drops what the worker's own caches hold of images; the scheduler's are its caller's to drop.
    worker.reload_weights(weights_iterator=iter(weights))
    model = worker.get_model()
    head, embedding = model.language_model.lm_head, model.language_model.model.embed_tokens
    if head.weight is embedding.weight:
        # vLLM takes a tied weight for the embedding's alone: what is packed of it for the head would stay as it was.
        head.quant_method.process_weights_after_loading(head)
    return weight_sums(held_weights(model))


@torch.inference_mode()
def held_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights that a model computes with, by the trainer's names; a tied one is told of embedding and head, which may hold copies."""
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            whole = _computed_with(module) if name == "weight" else weight
            yield from _parted(_trainer_name(f"{path}.{name}"), module, whole)


def _trainer_name(name: str) -> str:
    prefix = next(prefix for prefix in _PREFIXES if name.startswith(prefix))
    return _PREFIXES[prefix] + name.removeprefix(prefix)


def _computed_with(module: Any) -> Tensor:
    """A layer's weight. Of one that is packed, the layer's outputs for unit vectors tell it exactly."""
    weight: Tensor = module.weight
    looked_up = isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    packed = None if looked_up else getattr(module, "cpu_linear", None)
    if packed is not None:
        width = weight.shape[-1] if weight.numel() else module.input_size_per_partition
        weight = packed(torch.eye(width, dtype=weight.dtype, device=weight.device), weight, None).T
    # Rows that vLLM has added.
    return weight[: module.org_vocab_size] if isinstance(module, VocabParallelEmbedding) else weight


def _parted(name: str, module: Any, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A joined projection as those that it was made of."""
    parts = name.split(".")
    joined = _JOINED.get(parts[-2]) if len(parts) > 1 else None
    if joined is None:
        yield name, weight
        return
    for part, rows in zip(joined, weight.split(module.output_sizes), strict=True):
        yield ".".join([*parts[:-2], part, parts[-1]]), rows
