"""Checksums of weights, to compare two copies of a model on different devices or with different memory layouts.

They detect weights that are missing, damaged or misplaced. They are not cryptographic: it is easy to construct weights with equal sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

# An odd number without a pattern (2^64 over the golden ratio), as a signed integer.
_STRIDE = 0x9E3779B97F4A7C15 - (1 << 64)
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Elements that are widened to 64 bits at a time.
_CHUNK = 1 << 22


@torch.no_grad()
def weight_sum(weight: Tensor) -> int:
    """Compute sum_i b_i (i s + 1) mod 2^64, with b_i the bits of element i as an integer and s odd.

    Two weights of one type with equal elements have equal sums; +0 and -0 count as equal. The shape does not matter.
    """
    flat_N = weight.detach().reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=flat_N.device)
    for start in range(0, len(flat_N), _CHUNK):
        # Adding zero turns -0 into +0.
        part = (flat_N[start : start + _CHUNK] + 0.0).view(_BITS[flat_N.element_size()]).long()
        places = torch.arange(start, start + len(part), device=flat_N.device)
        total += (part * (places * _STRIDE + 1)).sum()
    return int(total)


def weight_sums(weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Return the sums of weights by name."""
    return {name: weight_sum(weight) for name, weight in weights}


def summed(weights: Iterable[tuple[str, Tensor]], sums: dict[str, int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and record their sums in ``sums``."""
    for name, weight in weights:
        sums[name] = weight_sum(weight)
        yield name, weight
