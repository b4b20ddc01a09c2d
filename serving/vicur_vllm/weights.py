"""Load the trainer's weights into vLLM, and read back the weights that vLLM computes with.

vLLM merges projections, pads the vocabulary and, on CPUs, packs matrices for its kernels and frees the originals. This module returns its
weights with the names and shapes of the trainer, so that both can be compared. Under tensor parallelism, each worker has parts of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
)
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

from vicur.modeling.weight_sums import Parts, Region, part_sum

AWAITED = "vicur_awaited"
"""Load format of a model whose weights are loaded later."""

_PREFIXES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "visual.": "model.visual.",
    "cue_recovery.": "model.cue_recovery.",
}
_MERGED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


class HeldPart(NamedTuple):
    """A part of a weight with ``columns`` columns, in memory of any shape."""

    weight: Tensor
    region: Region
    columns: int


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


def take_weights(worker: Any, weights: Iterable[tuple[str, Tensor]]) -> Parts:
    """Load all weights of the trainer into the model of a worker, which keeps its part of them under tensor parallelism.

    Returns the checksums of what the model computes with now, as :func:`held_parts`.
    """
    # This also clears the worker's cache of image features. The caller clears those of the scheduler.
    worker.reload_weights(weights_iterator=iter(weights))
    model = worker.get_model()
    head, embedding = model.language_model.lm_head, model.language_model.model.embed_tokens
    if head.weight is embedding.weight:
        # vLLM processes a tied weight only for the embedding, so the copy that is packed for the head would keep the old values.
        head.quant_method.process_weights_after_loading(head)
    return held_parts(model)


def clear_kv_cache(worker: Any) -> None:
    """Set the KV cache of a worker to zero, as it is when an engine starts. After sleep, its memory holds anything."""
    # Attention multiplies entries that no token has written by 0, which is NaN for NaN.
    for cache in worker.model_runner.kv_caches:
        cache.zero_()


def held_parts(model: nn.Module) -> dict[str, list[list[int]]]:
    """Return the checksums of the weights that a model computes with, by the trainer's names.

    Combine those of all workers of an engine with :func:`~vicur.modeling.weight_sums.combined`.
    """
    parts: dict[str, list[list[int]]] = {}
    for name, held in held_weights(model):
        parts.setdefault(name, []).append(part_sum(held.weight, held.region, held.columns))
    return parts


@torch.inference_mode()
def held_weights(model: nn.Module) -> Iterator[tuple[str, HeldPart]]:
    """Yield the parts of weights that a model computes with, by the trainer's names."""
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
    return weight[: module.shard_indices.num_org_elements] if isinstance(module, VocabParallelEmbedding) else weight


def _split(name: str, module: Any, weight: Tensor) -> Iterator[tuple[str, HeldPart]]:
    """Split a merged projection into the original ones, and locate each part in the whole weight."""
    if isinstance(module, QKVParallelLinear):
        yield from _attention_parts(name, module, weight)
    elif isinstance(module, MergedColumnParallelLinear):
        sizes = [size // module.tp_size for size in module.output_sizes]
        for part, rows in zip(_MERGED[name.split(".")[-2]], weight.split(sizes), strict=True):
            yield _renamed(name, part), _rows(rows, module.tp_rank * len(rows))
    elif isinstance(module, ColumnParallelLinear):
        yield name, _rows(weight, module.tp_rank * len(weight))
    elif isinstance(module, RowParallelLinear) and weight.ndim > 1:
        rows, columns = weight.shape
        region = Region(0, module.tp_rank * columns, rows, columns)
        yield name, HeldPart(weight, region, columns * module.tp_size)
    elif isinstance(module, VocabParallelEmbedding):
        yield name, _rows(weight, module.shard_indices.org_vocab_start_index)
    else:
        # Replicated: each worker has the whole weight.
        yield name, _rows(weight, 0)


def _attention_parts(name: str, module: Any, weight: Tensor) -> Iterator[tuple[str, HeldPart]]:
    keys = module.num_kv_heads * module.head_size
    sizes = [module.num_heads * module.head_size, keys, keys]
    # Workers that outnumber the heads of keys share them.
    ranks = [module.tp_rank, *[module.tp_rank // module.num_kv_head_replicas] * 2]
    starts = [rank * size for rank, size in zip(ranks, sizes, strict=True)]
    merged = _MERGED.get(name.split(".")[-2])
    if merged is None:
        # Merged in the trainer, too: queries, keys and values of all heads are below each other.
        keys = module.total_num_kv_heads * module.head_size
        queries = module.total_num_heads * module.head_size
        starts = [start + offset for start, offset in zip(starts, (0, queries, queries + keys), strict=True)]
    for number, (rows, start) in enumerate(zip(weight.split(sizes), starts, strict=True)):
        yield name if merged is None else _renamed(name, merged[number]), _rows(rows, start)


def _rows(weight: Tensor, start: int) -> HeldPart:
    columns = weight[0].numel()
    return HeldPart(weight, Region(start, 0, len(weight), columns), columns)


def _renamed(name: str, part: str) -> str:
    """Replace the name of a merged projection by that of one of its parts."""
    *path, _, kind = name.split(".")
    return ".".join([*path, part, kind])
