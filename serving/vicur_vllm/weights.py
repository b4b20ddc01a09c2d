"""Load the trainer's weights into vLLM, and read back the weights that vLLM computes with.

vLLM merges projections, pads the vocabulary and, on CPUs, packs matrices for its kernels and frees the originals. This module returns its
weights with the names and shapes of the trainer, so that both can be compared.
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
"""Load format of a model whose weights are loaded later."""

_PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "visual.": "model.visual.",
    "cue_recovery.": "model.cue_recovery.",
}
_MERGED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


@register_model_loader(AWAITED)
class AwaitedWeights(BaseModelLoader):
    """Model loader that sets all weights to zero."""

    # vLLM's load format "dummy" cannot be used, because it also overwrites the constants that pixels are normalised with.

    def download_model(self, model_config: Any) -> None:
        pass

    def load_weights(self, model: nn.Module, model_config: Any) -> None:  # noqa: ARG002
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()


def take_weights(worker: Any, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Load all weights of the trainer into the model of a worker.

    Returns the checksums of the weights that the model computes with now, by the trainer's names. The worker must have the whole model.
    """
    # This also clears the worker's cache of image features. The caller clears those of the scheduler.
    worker.reload_weights(weights_iterator=iter(weights))
    model = worker.get_model()
    head, embedding = model.language_model.lm_head, model.language_model.model.embed_tokens
    if head.weight is embedding.weight:
        # vLLM processes a tied weight only for the embedding, so the copy that is packed for the head would keep the old values.
        head.quant_method.process_weights_after_loading(head)
    return weight_sums(held_weights(model))


@torch.inference_mode()
def held_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights that a model computes with, by the trainer's names."""
    # A tied weight is returned for both embedding and head, since they may have separate copies.
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            whole = _effective_weight(module) if name == "weight" else weight
            yield from _split(_trainer_name(f"{path}.{name}"), module, whole)


def _trainer_name(name: str) -> str:
    prefix = next(prefix for prefix in _PREFIXES if name.startswith(prefix))
    return _PREFIXES[prefix] + name.removeprefix(prefix)


def _effective_weight(module: Any) -> Tensor:
    weight: Tensor = module.weight
    is_lookup = isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    packed = None if is_lookup else getattr(module, "cpu_linear", None)
    if packed is not None:
        # A packed matrix cannot be unpacked, but the outputs for unit vectors are exactly its columns.
        width = weight.shape[-1] if weight.numel() else module.input_size_per_partition
        weight = packed(torch.eye(width, dtype=weight.dtype, device=weight.device), weight, None).T
    # Without the rows with which vLLM pads the vocabulary.
    return weight[: module.org_vocab_size] if isinstance(module, VocabParallelEmbedding) else weight


def _split(name: str, module: Any, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Split a merged projection into the original ones."""
    parts = name.split(".")
    merged = _MERGED.get(parts[-2]) if len(parts) > 1 else None
    if merged is None:
        yield name, weight
        return
    for part, rows in zip(merged, weight.split(module.output_sizes), strict=True):
        yield ".".join([*parts[:-2], part, parts[-1]]), rows
