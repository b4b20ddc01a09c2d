"""A KV cache for batched generation: allocated once for the longest response, and compacted when rows end.

transformers' ``DynamicCache`` copies all keys and values for each new token, which takes as long as reading them in attention.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
    """The keys and values of one layer [B, heads, T, D], as views of buffers with room for ``length`` tokens."""

    _layer_type = None  # not transformers' default for a type of layer

    def __init__(self, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._length = length
        self._used = 0
        self._buffers: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the buffers, in the type and on the device of the first keys and values."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self._buffers = tuple(  # type: ignore[assignment]
            states.new_empty(*states.shape[:2], self._length, states.shape[3]) for states in (key_states, value_states)
        )
        self.is_initialized = True
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values, and return all."""
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
        assert self._buffers is not None
        start, self._used = self._used, self._used + key_states.shape[2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self._used].copy_(states)
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, and free the memory of the others."""
        assert self._buffers is not None
        keys, values = self._buffers
        # One after the other, so that at most one buffer exists twice.
        keys = keys.index_select(0, indices)
        self._buffers = keys, values
        self._buffers = keys, values.index_select(0, indices)
        self._show()

    def get_seq_length(self) -> int:
        """Return the number of tokens in the cache."""
        return self._used

    def _show(self) -> tuple[Tensor, Tensor]:
        assert self._buffers is not None
        self.keys, self.values = (buffer[:, :, : self._used] for buffer in self._buffers)
        return self.keys, self.values


def preallocated_cache(layers: int, length: int) -> Cache:
    """Return an empty cache for ``layers`` decoder layers and ``length`` tokens a row, prompt included."""
    return Cache(layers=[PreallocatedLayer(length) for _ in range(layers)])
