"""Measure how much memory single layers of the model allocate, by running them on fake tensors.

One decoder layer, one block of the vision tower and one cue recovery module run forward and backward with fake tensors (shapes and dtypes
without data, ``torch._subclasses.FakeTensorMode``), while a dispatch mode adds up the live storages. The result follows the actual code
of transformers and autograd at any size, and takes less than a second and no memory.

PyTorch's CPU kernels represent those of a GPU: their attention saves queries, keys, values, output, log-sum-exp and mask, as CUDA's
memory-efficient and flash kernels do. Rounding by the allocator and kernel workspaces are not included; ``Hardware.headroom`` covers them.

Axes: B rows, T tokens, H hidden, P patches, D head dimension.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextDecoderLayer,
    Qwen3VLTextRMSNorm,
    Qwen3VLVisionBlock,
    Qwen3VLVisionPatchMerger,
)

from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery


@dataclass(frozen=True)
class Precision:
    """Dtypes that a model computes with."""

    weights: torch.dtype
    autocast: bool = False  # casts float32 weights to bfloat16; hidden states between layers stay float32

    @property
    def state_bytes(self) -> int:
        """Bytes per element of the hidden states between layers."""
        return self.weights.itemsize


@dataclass(frozen=True)
class Footprint:
    """Bytes that a layer allocates besides its inputs, weights, copies of weights and gradients of weights."""

    saved: int  # saved between forward and backward, including the output
    forward_peak: int  # of a forward pass without a graph
    backward_peak: int  # of a forward and a backward pass

    @property
    def backward_extra(self) -> int:
        """Bytes at the peak of the backward pass on top of ``saved``."""
        return self.backward_peak - self.saved


class LiveBytes(TorchDispatchMode):
    """Track the bytes of live storages that operations under this mode allocate.

    Attributes:
        events: allocations (positive) and deallocations (negative) in bytes, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[int] = []
        self._known: dict[int, int] = {}

    @property
    def now(self) -> int:
        """Bytes that are live now."""
        return sum(self.events)

    @property
    def peak(self) -> int:
        """Maximum number of bytes that were live at once."""
        return max(accumulate(self.events), default=0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        # Inputs seen for the first time were allocated before this mode was entered: they and their views do not count.
        self._watch((args, kwargs), counted=False)
        out = func(*args, **kwargs)
        self._watch(out, counted=True)
        return out

    def _watch(self, values: Any, *, counted: bool) -> None:
        for value in tree_leaves(values):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key = storage._cdata
            if key in self._known:
                continue
            self._known[key] = storage.nbytes() if counted else 0
            self.events.append(self._known[key])
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.events.append(-self._known.pop(key))


@dataclass(frozen=True)
class _Trace:
    """Allocations and deallocations of a layer."""

    inference: tuple[int, ...]  # of a forward pass without a graph
    training: tuple[int, ...]  # of a forward and a backward pass
    forward: int  # how many events of ``training`` belong to the forward pass


@lru_cache(maxsize=256)
def _trace(kind: Any, sizes: tuple[Any, ...], rows: int, precision: Precision, *, trained: bool) -> _Trace:
    with FakeTensorMode(), torch.enable_grad():
        with _default_dtype(precision.weights):
            module, forward, inputs = kind(*sizes, rows, precision)
        module.requires_grad_(trained)
        return _record(module, forward, inputs, precision)


def _footprint(
    kind: Any, sizes: tuple[Any, ...], rows: int, precision: Precision, *, trained: bool = True
) -> Footprint:
    """Extrapolate the footprint of ``rows`` rows linearly from those of 2 and 3 rows."""
    # Not from 1: some copies are no-ops for a single row, so its events do not correspond to those of more rows.
    two, three = (_trace(kind, sizes, n, precision, trained=trained) for n in (2, 3))

    def events(of_two: tuple[int, ...], of_three: tuple[int, ...]) -> list[int]:
        return [a + (rows - 2) * (b - a) for a, b in zip(of_two, of_three, strict=True)]

    training = events(two.training, three.training)
    return Footprint(
        saved=sum(training[: two.forward]),
        forward_peak=max(accumulate(events(two.inference, three.inference)), default=0),
        backward_peak=max(accumulate(training), default=0),
    )


def decoder_layer_footprint(
    config: Qwen3VLTextConfig, rows: int, tokens: int, precision: Precision, *, trained: bool = True
) -> Footprint:
    """Return the footprint of a decoder layer for ``rows`` padded sequences of ``tokens`` tokens, with a padding mask."""
    return _footprint(_decoder_layer, (_Frozen(config), tokens), rows, precision, trained=trained)


def norm_footprint(config: Qwen3VLTextConfig, rows: int, tokens: int, precision: Precision) -> Footprint:
    """Return the footprint of the norm after the last decoder layer."""
    return _footprint(_norm, (_Frozen(config), tokens), rows, precision)


def vision_block_footprint(
    config: Qwen3VLVisionConfig, images: int, patches: int, precision: Precision, *, trained: bool = True
) -> Footprint:
    """Return the footprint of a block of the vision tower for ``images`` images of ``patches`` patches each."""
    return _footprint(_vision_block, (_Frozen(config), patches), images, precision, trained=trained)


def vision_merger_footprint(config: Qwen3VLVisionConfig, images: int, patches: int, precision: Precision) -> Footprint:
    """Return the footprint of a trained patch merger: the final one, or one of deepstack."""
    return _footprint(_vision_merger, (_Frozen(config), patches), images, precision)


def recovery_footprint(
    hidden_size: int, heads: int, rows: int, tokens: int, visual_tokens: int, precision: Precision
) -> Footprint:
    """Return the footprint of a cue recovery module for ``rows`` sequences with ``visual_tokens`` visual tokens each."""
    return _footprint(_recovery, (hidden_size, heads, tokens, visual_tokens), rows, precision)


class _Frozen:
    """Make a configuration hashable by its content, so that it can be a cache key."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self._key = config.to_json_string()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


_Part = tuple[nn.Module, Callable[[Tensor], Tensor], Tensor]


def _decoder_layer(key: _Frozen, tokens: int, rows: int, precision: Precision) -> _Part:
    text = _with_sdpa(key.config)
    layer = Qwen3VLTextDecoderLayer(text, layer_idx=0)
    hidden_BTH = torch.empty(rows, tokens, text.hidden_size, dtype=precision.weights)
    angles_BTD = torch.empty(rows, tokens, text.head_dim, dtype=precision.weights)
    mask_B1TT = torch.ones(rows, 1, tokens, tokens, dtype=torch.bool)
    embeddings = (angles_BTD, angles_BTD)
    return layer, lambda x: layer(x, position_embeddings=embeddings, attention_mask=mask_B1TT), hidden_BTH


def _norm(key: _Frozen, tokens: int, rows: int, precision: Precision) -> _Part:
    text = key.config
    norm = Qwen3VLTextRMSNorm(text.hidden_size)
    return norm, norm, torch.empty(rows, tokens, text.hidden_size, dtype=precision.weights)


def _vision_block(key: _Frozen, patches: int, images: int, precision: Precision) -> _Part:
    vision = _with_sdpa(key.config)
    block = Qwen3VLVisionBlock(vision)
    hidden_PH = torch.empty(images * patches, vision.hidden_size, dtype=precision.weights)
    angles_PD = torch.empty(images * patches, vision.hidden_size // vision.num_heads)
    # All images as one long one: the kernel's memory depends only on the number of patches.
    starts = _Starts(images * patches)
    return block, lambda x: block(x, cu_seqlens=starts, position_embeddings=(angles_PD, angles_PD)), hidden_PH


def _vision_merger(key: _Frozen, patches: int, images: int, precision: Precision) -> _Part:
    vision = key.config
    merger = Qwen3VLVisionPatchMerger(vision)
    return merger, merger, torch.empty(images * patches, vision.hidden_size, dtype=precision.weights)


def _recovery(hidden_size: int, heads: int, tokens: int, visual_tokens: int, rows: int, precision: Precision) -> _Part:
    module = CueRecovery(hidden_size, heads, 1e-6, (0,))
    index = torch.zeros(rows, visual_tokens, dtype=torch.long)
    positions = CuePositions(torch.zeros(rows, dtype=torch.long), index, torch.ones_like(index, dtype=torch.bool))
    hidden_BTH = torch.empty(rows, tokens, hidden_size, dtype=precision.weights)
    return module, lambda x: module(positions, 0, x), hidden_BTH


class _Starts:
    """Replacement for ``cu_seqlens``, whose values attention reads but fake tensors do not have."""

    def __init__(self, patches: int) -> None:
        self._patches = patches

    def __getitem__(self, _: slice) -> _Starts:
        return self

    def __sub__(self, _: _Starts) -> _Starts:
        return self

    def tolist(self) -> list[int]:
        return [self._patches]


def _with_sdpa(config: Any) -> Any:
    copy = type(config).from_dict(config.to_dict())
    copy._attn_implementation = "sdpa"
    return copy


def _record(module: nn.Module, forward: Callable[[Tensor], Tensor], states: Tensor, precision: Precision) -> _Trace:
    copies: list[int] = []
    if precision.autocast:
        # Subtract the cast weights: autocast caches them, and the plan counts them once for the whole model.
        linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
        copies = [-sum(torch.bfloat16.itemsize * p.numel() for m in linear for p in m.parameters())]
    with LiveBytes() as free, torch.no_grad(), _cast(precision):
        out = forward(states)
        del out
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
    states.requires_grad_()
    with LiveBytes() as live:
        with _cast(precision):
            out = forward(states)
        forward_events = len(live.events)
        out.backward(torch.empty_like(out))
    return _Trace((*copies, *free.events), (*copies, *live.events), len(copies) + forward_events)


def _drop_gradient(parameter: Tensor) -> None:
    # The footprint excludes gradients of weights.
    parameter.grad = None


def _cast(precision: Precision) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision.autocast)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
