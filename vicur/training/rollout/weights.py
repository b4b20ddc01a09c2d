"""The student's weights in the form that engines load: full, merged, and under the names that they are saved with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, Shard
from transformers import Qwen3VLForConditionalGeneration

from vicur.errors import VicurError
from vicur.training.lora import MergedParameter, merged_parameters
from vicur.wording import listed

BUCKET_BYTES = 512 * 10**6
"""Default bound of a bucket of weights."""
# Bytes; at least the largest element.
_ALIGNMENT = 16
_RESUME = "Start the training again: it resumes from its last checkpoint. If this happens again, remove training.rollout.engine."
_HEAD, _EMBEDDING = "lm_head.weight", "model.language_model.embed_tokens.weight"


@torch.no_grad()
def student_weights(
    model: Qwen3VLForConditionalGeneration, dtype: torch.dtype, bucket_bytes: int = BUCKET_BYTES
) -> Iterator[tuple[str, Tensor]]:
    """Yield all weights of a student, tied ones once, low-rank updates merged, cast to ``dtype``.

    Sharded weights are gathered in buckets of at most ``bucket_bytes``, or of one larger weight, so a process never holds the whole
    student. All processes iterate together.
    """
    for bucket in _buckets(merged_parameters(model), dtype, bucket_bytes):
        # Cast before gathering where nothing is computed with the weight: half as much is sent for bfloat16.
        tensors = [
            source.detach() if len(each.sources) > 1 else source.detach().to(dtype)
            for each in bucket
            for source in each.sources
        ]
        full = iter(gathered(tensors))
        for each in bucket:
            yield each.name, each.value([next(full) for _ in each.sources]).to(dtype)


def _buckets(
    parameters: Iterable[MergedParameter], dtype: torch.dtype, bucket_bytes: int
) -> Iterator[list[MergedParameter]]:
    bucket: list[MergedParameter] = []
    size = 0
    for each in parameters:
        # A weight that is computed from several is cast afterwards.
        own = sum(
            source.numel() * (source.element_size() if len(each.sources) > 1 else dtype.itemsize)
            for source in each.sources
        )
        if bucket and size + own > bucket_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append(each)
        size += own
    if bucket:
        yield bucket


def gathered(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return full copies of tensors that FSDP2 sharded by their first dimension, with one collective for all of them.

    Others are returned as they are.
    """
    sharded = [tensor for tensor in tensors if isinstance(tensor, DTensor)]
    if not sharded:
        return list(tensors)
    full = iter(_all_gathered(sharded))
    return [next(full) if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def _all_gathered(tensors: Sequence[DTensor]) -> list[Tensor]:
    mesh = tensors[0].device_mesh
    pieces = []
    for tensor in tensors:
        assert tensor.device_mesh == mesh
        assert tensor.placements == (Shard(0),)
        rows = _shard_rows(tensor)
        local = tensor.to_local()
        # Processes at the end have fewer rows, or none.
        padded = local.new_zeros((rows, *tensor.shape[1:]))
        padded[: len(local)] = local
        # As bytes, since weights of a bucket may have different types, each at a multiple of every element size.
        pieces.append(_aligned(padded.flatten().view(torch.uint8)))
    own = torch.cat(pieces)
    everything = own.new_empty((mesh.size(), len(own)))
    distributed.all_gather_into_tensor(everything.flatten(), own, group=mesh.get_group())
    full, start = [], 0
    for tensor, piece in zip(tensors, pieces, strict=True):
        size = _shard_rows(tensor) * math.prod(tensor.shape[1:]) * tensor.element_size()
        whole = everything[:, start : start + size].contiguous().view(tensor.dtype).view(-1, *tensor.shape[1:])
        full.append(whole[: len(tensor)])
        start += len(piece)
    return full


def _shard_rows(tensor: DTensor) -> int:
    """Return the number of rows of the first shard, which is never smaller than the others."""
    return -(-len(tensor) // tensor.device_mesh.size())


def _aligned(data: Tensor) -> Tensor:
    return torch.nn.functional.pad(data, (0, -len(data) % _ALIGNMENT))


def differing(expected: Mapping[str, int], held: Mapping[str, int | None]) -> list[str]:
    """Return the names of the weights for which an engine does not have the expected sums, sorted."""
    sums = dict(expected)
    # Engines may hold a tied output layer under its own name.
    if _HEAD in held and _EMBEDDING in sums:
        sums.setdefault(_HEAD, sums[_EMBEDDING])
    return sorted(name for name in sums.keys() | held.keys() if sums.get(name) != held.get(name))


def require_equal(
    expected: Mapping[str, int], held: Mapping[str, int | None], engine: str, *, remedy: str = _RESUME
) -> None:
    """Raise a ``VicurError`` if an engine's weights do not have the expected sums, by name."""
    require_agreement([(differing(expected, held), expected)], engine, remedy=remedy)


def require_agreement(
    outcomes: Sequence[tuple[Sequence[str], Mapping[str, int]]], engine: str, *, remedy: str = _RESUME
) -> None:
    """Raise a ``VicurError`` unless all processes sent the same weights to engines that now have them.

    Args:
        outcomes: of each process that sent weights, :func:`differing` and the sums that it sent.
    """
    # Every process has all outcomes and raises the same error, so none waits for another that has failed.
    for wrong, _ in outcomes:
        if wrong:
            raise VicurError(
                f"the engine has other weights than the training expects: {listed(wrong, shown=3)}.",
                where=engine,
                remedy=remedy,
            )
    first = outcomes[0][1]
    for number, (_, sent) in enumerate(outcomes):
        if sent != first:
            raise VicurError(
                f"processes 0 and {number} have different students: {listed(differing(first, sent), shown=3)}.",
                where=engine,
                remedy=_RESUME,
            )
