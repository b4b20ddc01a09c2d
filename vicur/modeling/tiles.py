"""The output layer in tiles: masked logits of some tokens over part of the vocabulary, and their running sums.

A tensor [tokens, vocabulary] never exists. Products keep their operands' precision but accumulate and return float32 (or float64), so
low-precision weights give logits that are not rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

# Logit of a forbidden id. Finite, so that its product with its exponential, which is 0, is 0 instead of NaN.
MASKED_LOGIT = -1e30

_LOG2_E = math.log2(math.e)
# Factor by which a tile may be wider if there are few tokens.
_WIDEST = 4


@dataclass(frozen=True)
class TileSizes:
    """Sizes of tiles and strips. A strip is some tokens over the whole vocabulary."""

    tokens: int  # of a tile, at most
    vocabulary: int  # ids of a tile; more if it has few tokens
    strip_bytes: int

    @classmethod
    def suited_to(cls, device: torch.device) -> TileSizes:
        """Return sizes at which products run near full speed: a CPU's fit its last-level cache, a GPU's occupy its cores."""
        if device.type == "cpu":
            return cls(tokens=512, vocabulary=2048, strip_bytes=64 * 2**20)
        return cls(tokens=4096, vocabulary=8192, strip_bytes=320 * 2**20)

    def width(self, count: int) -> int:
        """Return the number of ids of a tile over ``count`` tokens."""
        return self.vocabulary * min(_WIDEST, max(1, self.tokens // max(1, count)))

    def token_tiles(self, count: int) -> Iterator[slice]:
        return _slices(count, self.tokens)

    def strips(self, count: int, vocabulary: int, dtype: torch.dtype) -> Iterator[slice]:
        """Split ``count`` tokens into strips of at least one token."""
        return _slices(count, max(1, self.strip_bytes // (vocabulary * dtype.itemsize)))


@dataclass(frozen=True, eq=False)
class VocabularyTile:
    """Ids from ``start`` up to ``stop``."""

    start: int
    stop: int
    forbidden: Tensor  # ids without probability, relative to start

    @property
    def ids(self) -> slice:
        return slice(self.start, self.stop)

    def mask_(self, tile: Tensor, value: float) -> Tensor:
        """Set the forbidden ids of a tile [N, stop - start] to ``value``, in place."""
        return tile.index_fill_(1, self.forbidden, value) if len(self.forbidden) else tile

    def logits(self, hidden_NH: Tensor, weight_VH: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute the logits of this tile [N, stop - start], with ``MASKED_LOGIT`` at forbidden ids."""
        return self.mask_(product(hidden_NH, weight_VH[self.ids].t(), out), MASKED_LOGIT)

    def find(self, ids_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Return which ids are in this tile and their columns, which are arbitrary for the others."""
        inside_NK = (ids_NK >= self.start) & (ids_NK < self.stop)
        return inside_NK, (ids_NK - self.start).clamp(0, self.stop - self.start - 1)


def vocabulary_tiles(vocabulary: int, forbidden: Tensor, width: int) -> list[VocabularyTile]:
    """Split a vocabulary into tiles of ``width`` ids. The ``forbidden`` ids [F] must be sorted."""
    parts = list(_slices(vocabulary, width))
    edges = torch.tensor([part.start for part in parts] + [vocabulary], device=forbidden.device)
    places = torch.searchsorted(forbidden, edges).tolist()
    return [
        VocabularyTile(part.start, part.stop, forbidden[first:last] - part.start)
        for part, first, last in zip(parts, places[:-1], places[1:], strict=True)
    ]


class RunningSoftmax:
    """Accumulate the distribution of each of ``count`` tokens tile by tile (arXiv 1805.02867, algorithm 3).

    Keeps max z, sum e^(z - max) and, for the entropy, sum e^(z - max) z, in the precision and on the device of ``like``.
    """

    def __init__(self, count: int, like: Tensor, *, entropy: bool = True) -> None:
        self._highest_N = like.new_full((count,), -torch.inf)
        self._total_N = like.new_zeros(count)
        self._weighted_N = like.new_zeros(count) if entropy else None

    def add(self, logits_NV: Tensor, rows: slice = slice(None)) -> None:
        """Add one tile's logits of all tokens, or of ``rows``."""
        highest_N = torch.maximum(self._highest_N[rows], logits_NV.amax(-1))
        # Earlier sums were relative to the previous maximum: rescale them.
        scale_N = (self._highest_N[rows] - highest_N).exp()
        powers_NV = logits_NV - highest_N[:, None]
        exponential(powers_NV, out=powers_NV)
        self._total_N[rows] = self._total_N[rows] * scale_N + powers_NV.sum(-1)
        if self._weighted_N is not None:
            self._weighted_N[rows] = self._weighted_N[rows] * scale_N + powers_NV.mul_(logits_NV).sum(-1)
        self._highest_N[rows] = highest_N

    def log_normaliser(self) -> Tensor:
        """Return log sum_v e^(z_v) [N]."""
        return self._highest_N + self._total_N.log()

    def entropy(self) -> Tensor:
        """Return the entropy in nats [N]: log sum_v e^(z_v) - sum_v p_v z_v."""
        assert self._weighted_N is not None
        return self.log_normaliser() - self._weighted_N / self._total_N


def exponential(exponents: Tensor, out: Tensor | None = None) -> Tensor:
    """Compute e^x as 2^(x log2 e). For x <= 0, the error is at most |x| times the rounding of one product."""
    # Three times as fast as torch.exp if that uses MKL on an AMD processor, about as fast elsewhere.
    return torch.mul(exponents, _LOG2_E, out=out).exp2_()


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """Return float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def product(left_NM: Tensor, right_MK: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply two matrices in the left one's precision, accumulating and returning float32 or float64."""
    wide = accumulation_dtype(left_NM)
    right_MK = right_MK.to(left_NM.dtype)
    if left_NM.dtype != wide and left_NM.is_cuda:
        result = torch.mm(left_NM, right_MK, out_dtype=wide)
        return result if out is None else out.copy_(result)
    # A CPU has no out_dtype: widen the operands.
    return torch.mm(left_NM.to(wide), right_MK.to(wide), out=out)


def add_product_(total_NK: Tensor, left_NM: Tensor, right_MK: Tensor, *, first: bool = False) -> None:
    """Add a product to ``total_NK`` in place. The ``first`` one overwrites ``total_NK``, which may be uninitialised."""
    if left_NM.dtype == right_MK.dtype == total_NK.dtype:
        total_NK.addmm_(left_NM, right_MK, beta=0 if first else 1)
    elif first:
        total_NK.copy_(product(left_NM, right_MK))
    else:
        total_NK.add_(product(left_NM, right_MK))


def empty_gradient(weight_VH: Tensor, dtype: torch.dtype, *, tokens: int) -> Tensor:
    """Allocate a gradient of ``weight_VH`` that the first tokens overwrite; it is zero without tokens."""
    # Writing zeros first would cost another pass over the memory.
    make = torch.empty_like if tokens else torch.zeros_like
    return make(weight_VH, dtype=dtype)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which products keep their operands' precision."""
    return torch.autocast(tensor.device.type, enabled=False)


def _slices(count: int, width: int) -> Iterator[slice]:
    return (slice(start, min(start + width, count)) for start in range(0, count, width))
