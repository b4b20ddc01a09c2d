"""Checksums of weights, to compare two copies of a model on different devices or with different memory layouts.

The sum of a weight is the sum of its parts, so a model that is distributed over several devices can be compared with a whole one without
gathering it. The sums detect weights that are missing, damaged or misplaced. They are not cryptographic: it is easy to construct weights
with equal sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# An odd number without a pattern (2^64 over the golden ratio), as a signed integer.
_STRIDE = 0x9E3779B97F4A7C15 - (1 << 64)
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Elements that are widened to 64 bits at a time.
_CHUNK = 1 << 22


class Region(NamedTuple):
    """A rectangle of a weight, seen as a matrix of its first dimension by all others."""

    row: int
    column: int
    rows: int
    columns: int


Parts = Mapping[str, Sequence[Sequence[int]]]
"""What one device holds, by the name of the weight: each :class:`Region` followed by the sum of its elements. Plain integers, for JSON."""


@torch.no_grad()
def weight_sum(weight: Tensor) -> int:
    """Compute sum_i b_i (i s + 1) mod 2^64, with b_i the bits of element i as an integer and s odd.

    Two weights of one type with equal elements have equal sums; +0 and -0 count as equal. The shape does not matter.
    """
    return region_sum(weight.flatten()[None], first=0, stride=weight.numel())


@torch.no_grad()
def region_sum(part_RC: Tensor, *, first: int, stride: int) -> int:
    """Compute the terms of :func:`weight_sum` that belong to a rectangle of a weight.

    Args:
        first: index of the rectangle's first element in the flat weight.
        stride: number of columns of the whole weight.
    """
    columns = part_RC.shape[1]
    flat = part_RC.detach().reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    for start in range(0, len(flat), _CHUNK):
        # Adding zero turns -0 into +0.
        bits = (flat[start : start + _CHUNK] + 0.0).view(_BITS[flat.element_size()]).long()
        places = torch.arange(start, start + len(bits), device=flat.device)
        if columns != stride:
            places = places // columns * stride + places % columns
        total += (bits * ((places + first) * _STRIDE + 1)).sum()
    return int(total)


def part_sum(part: Tensor, region: Region, columns: int) -> list[int]:
    """Return an entry of :data:`Parts` for ``part``, which is the ``region`` of a weight with ``columns`` columns."""
    matrix_RC = part.reshape(region.rows, region.columns)
    return [*region, region_sum(matrix_RC, first=region.row * columns + region.column, stride=columns)]


def combined(devices: Sequence[Parts]) -> dict[str, int | None]:
    """Return the sums of whole weights, of which each device holds some parts.

    A region may be held by several devices. If their sums differ, the weight's sum is ``None``.
    """
    regions: dict[str, dict[tuple[int, ...], set[int]]] = {}
    for parts in devices:
        for name, entries in parts.items():
            for *region, value in entries:
                regions.setdefault(name, {}).setdefault(tuple(region), set()).add(value)
    return {
        name: _wrapped(sum(value for each in sums.values() for value in each))
        if all(len(each) == 1 for each in sums.values())
        else None
        for name, sums in regions.items()
    }


def weight_sums(weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Return the sums of weights by name."""
    return {name: weight_sum(weight) for name, weight in weights}


def summed(weights: Iterable[tuple[str, Tensor]], sums: dict[str, int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and record their sums in ``sums``."""
    for name, weight in weights:
        sums[name] = weight_sum(weight)
        yield name, weight


def _wrapped(value: int) -> int:
    """Return ``value`` mod 2^64 as a signed integer, as PyTorch's additions wrap."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
