"""Checksums of weights that two holders of a model can compare, each where its weights are: on its device, whatever the memory layout.

They tell a weight that did not arrive, or arrived damaged or elsewhere. They are no signature: who wants to can make two weights agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

# An odd number without a pattern (2^64 over the golden ratio), as a signed one.
_STRIDE = 0x9E3779B97F4A7C15 - (1 << 64)
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Elements that are widened at once.
_CHUNK = 1 << 22


@torch.no_grad()
def weight_sum(weight: Tensor) -> int:
    """sum_i b_i (i s + 1) mod 2^64 of a weight's elements, where b_i are the bits of element i as an integer, and s is odd.

    Two weights of one type have equal sums where all elements are equal, zeros of either sign taken for the same.

    Args:
        weight: of any shape, which does not enter.
    """
    flat_N = weight.detach().reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=flat_N.device)
    for start in range(0, len(flat_N), _CHUNK):
        # Adding zero takes the sign from a zero.
        part = (flat_N[start : start + _CHUNK] + 0.0).view(_BITS[flat_N.element_size()]).long()
        places = torch.arange(start, start + len(part), device=flat_N.device)
        total += (part * (places * _STRIDE + 1)).sum()
    return int(total)


def weight_sums(weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Sums of weights by name."""
    return {name: weight_sum(weight) for name, weight in weights}


def summed(weights: Iterable[tuple[str, Tensor]], sums: dict[str, int]) -> Iterator[tuple[str, Tensor]]:
    """Passes weights on, and writes their sums into ``sums``."""
    for name, weight in weights:
        sums[name] = weight_sum(weight)
        yield name, weight
