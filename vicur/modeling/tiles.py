"""The output layer in tiles: logits of some tokens over some of the vocabulary, masked, and what sums them up.

A tensor [tokens, vocabulary] never exists. Products take their operands as they come and are accumulated and returned in float32 (or
float64), so that low-precision weights give logits that are not rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

# Stands for the logit of an id that is never drawn. Finite, so that nothing times its exponential, which is 0, is exactly 0.
NEVER = -1e30


_LOG2_E = math.log2(math.e)
# How much wider a tile may be where there are few tokens.
_WIDEST = 4


@dataclass(frozen=True)
class TileSizes:
    """How much is computed at once.

    Attributes:
        tokens: tokens of a tile, at most.
        vocabulary: ids of a tile; of few tokens it takes more.
        strip_bytes: size of a strip, some tokens over the whole vocabulary, where one is needed.
    """

    tokens: int
    vocabulary: int
    strip_bytes: int

    @classmethod
    def suited_to(cls, device: torch.device) -> TileSizes:
        """Sizes at which products run near their full speed: a CPU's fit its last cache, a GPU's fill its cores."""
        if device.type == "cpu":
            return cls(tokens=512, vocabulary=2048, strip_bytes=64 * 2**20)
        return cls(tokens=4096, vocabulary=8192, strip_bytes=320 * 2**20)

    def width(self, count: int) -> int:
        """Ids of a tile over ``count`` tokens."""
        return self.vocabulary * min(_WIDEST, max(1, self.tokens // max(1, count)))

    def token_tiles(self, count: int) -> Iterator[slice]:
        """Tiles over ``count`` tokens."""
        return _slices(count, self.tokens)

    def strips(self, count: int, vocabulary: int, dtype: torch.dtype) -> Iterator[slice]:
        """Strips over ``count`` tokens, of at least one token."""
        return _slices(count, max(1, self.strip_bytes // (vocabulary * dtype.itemsize)))


@dataclass(frozen=True, eq=False)
class VocabularyTile:
    """Ids from ``start`` up to ``stop``.

    Attributes:
        forbidden: which of them have no probability, counted from ``start``.
    """

    start: int
    stop: int
    forbidden: Tensor

    @property
    def ids(self) -> slice:
        """The ids, as an index."""
        return slice(self.start, self.stop)

    def mask_(self, tile: Tensor, value: float) -> Tensor:
        """Puts ``value`` at the forbidden ids of a tile [N, stop - start], in place."""
        return tile.index_fill_(1, self.forbidden, value) if len(self.forbidden) else tile

    def logits(self, hidden_NH: Tensor, weight_VH: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits of this tile [N, stop - start], ``NEVER`` at forbidden ids; in ``out`` where that is given."""
        return self.mask_(product(hidden_NH, weight_VH[self.ids].t(), out), NEVER)

    def find(self, ids_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Which of some ids lie in this tile, and their columns in it; any column for the others."""
        inside_NK = (ids_NK >= self.start) & (ids_NK < self.stop)
        return inside_NK, (ids_NK - self.start).clamp(0, self.stop - self.start - 1)


def vocabulary_tiles(vocabulary: int, forbidden: Tensor, width: int) -> list[VocabularyTile]:
    """Tiles over the whole vocabulary.

    Args:
        vocabulary: rows of the output layer.
        forbidden: ids that have no probability, sorted [F].
        width: ids of a tile.
    """
    parts = list(_slices(vocabulary, width))
    edges = torch.tensor([part.start for part in parts] + [vocabulary], device=forbidden.device)
    places = torch.searchsorted(forbidden, edges).tolist()
    return [
        VocabularyTile(part.start, part.stop, forbidden[first:last] - part.start)
        for part, first, last in zip(parts, places[:-1], places[1:], strict=True)
    ]


class RunningSoftmax:
    """Sums up the distribution of each token while its logits pass by, tile after tile (arXiv 1805.02867, algorithm 3).

    Keeps max z, sum e^(z - max) and, for the entropy, sum e^(z - max) z.

    Args:
        count: tokens.
        like: a tensor of the precision and device in which to sum.
        entropy: whether :meth:`entropy` is asked for.
    """

    def __init__(self, count: int, like: Tensor, *, entropy: bool = True) -> None:
        self._highest_N = like.new_full((count,), -torch.inf)
        self._total_N = like.new_zeros(count)
        self._weighted_N = like.new_zeros(count) if entropy else None

    def add(self, logits_NV: Tensor, rows: slice = slice(None)) -> None:
        """Takes in one tile's logits of all tokens, or of ``rows``."""
        highest_N = torch.maximum(self._highest_N[rows], logits_NV.amax(-1))
        kept_N = (self._highest_N[rows] - highest_N).exp()
        powers_NV = logits_NV - highest_N[:, None]
        exponential(powers_NV, out=powers_NV)
        self._total_N[rows] = self._total_N[rows] * kept_N + powers_NV.sum(-1)
        if self._weighted_N is not None:
            self._weighted_N[rows] = self._weighted_N[rows] * kept_N + powers_NV.mul_(logits_NV).sum(-1)
        self._highest_N[rows] = highest_N

    def log_normaliser(self) -> Tensor:
        """log sum_v e^(z_v) [N]."""
        return self._highest_N + self._total_N.log()

    def entropy(self) -> Tensor:
        """Entropy in nats [N]: log sum_v e^(z_v) - sum_v p_v z_v."""
        assert self._weighted_N is not None
        return self.log_normaliser() - self._weighted_N / self._total_N


def exponential(exponents: Tensor, out: Tensor | None = None) -> Tensor:
    """e^x as 2^(x log2 e), in ``out`` where that is given: of exponents up to 0 it is off by at most |x| times the rounding of one product.

    Three times as fast as PyTorch's own ``exp`` where that is MKL's and the processor AMD's, about as fast elsewhere.
    """
    return torch.mul(exponents, _LOG2_E, out=out).exp2_()


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def product(left_NM: Tensor, right_MK: Tensor, out: Tensor | None = None) -> Tensor:
    """Matrix product of operands in the left one's precision, accumulated and returned in float32 or float64; in ``out`` where that is
    given.
    """
    wide = accumulation_dtype(left_NM)
    right_MK = right_MK.to(left_NM.dtype)
    if left_NM.dtype != wide and left_NM.is_cuda:
        made = torch.mm(left_NM, right_MK, out_dtype=wide)
        return made if out is None else out.copy_(made)
    return torch.mm(left_NM.to(wide), right_MK.to(wide), out=out)


def add_product_(total_NK: Tensor, left_NM: Tensor, right_MK: Tensor, *, first: bool = False) -> None:
    """Adds a product to ``total_NK``, in place; the ``first`` one is put in the place of whatever is there."""
    if left_NM.dtype == right_MK.dtype == total_NK.dtype:
        total_NK.addmm_(left_NM, right_MK, beta=0 if first else 1)
    elif first:
        total_NK.copy_(product(left_NM, right_MK))
    else:
        total_NK.add_(product(left_NM, right_MK))


def unwritten(weight_VH: Tensor, dtype: torch.dtype, *, tokens: int) -> Tensor:
    """Room for a gradient of ``weight_VH`` that the first tokens write; without tokens it is zero.

    Zeros that are written first and added to then would cost two passes over the room.
    """
    make = torch.empty_like if tokens else torch.zeros_like
    return make(weight_VH, dtype=dtype)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which products have the precision that they are asked for."""
    return torch.autocast(tensor.device.type, enabled=False)


def _slices(count: int, width: int) -> Iterator[slice]:
    return (slice(start, min(start + width, count)) for start in range(0, count, width))
