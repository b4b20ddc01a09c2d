"""Log-probabilities of given tokens from hidden states, in memory that does not grow with tokens times vocabulary.

The forward passes over the vocabulary once with an online logsumexp; the backward computes each tile of logits again and turns it directly
into its gradient. Cost: 8 N H V operations with both gradients, compared with 6 if all logits are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vicur.errors import VicurError
from vicur.modeling.tiles import (
    RunningSoftmax,
    TileSizes,
    accumulation_dtype,
    add_product_,
    empty_gradient,
    vocabulary_tiles,
    without_autocast,
)


@dataclass(frozen=True, eq=False)
class TopTokens:
    """The K most likely tokens at N positions, most likely first."""

    ids_NK: Tensor
    logprobs_NK: Tensor

    def to(self, device: torch.device) -> TopTokens:
        return TopTokens(self.ids_NK.to(device), self.logprobs_NK.to(device))


def token_logprobs(
    hidden_NH: Tensor,  # hidden states, each of which predicts a token
    weight_VH: Tensor,  # weights of the output layer, which may be tied to the embedding; a plain tensor
    ids_NK: Tensor,  # ids to score
    forbidden: Tensor,  # ids that have no probability, sorted [F]; such an id in ids_NK scores -inf
    sizes: TileSizes | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute log softmax(h_n W^T)[ids_nk], over the vocabulary without the forbidden ids, differentiable in hidden states and weights.

    Returns log-probabilities [N, K] and the distributions' entropies in nats [N], without gradient; float32, or float64 for float64.
    """
    logprobs_NK, entropy_N = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden_NH, weight_VH, ids_NK, forbidden, sizes or TileSizes.suited_to(hidden_NH.device)
    )
    return logprobs_NK, entropy_N


@torch.no_grad()
def top_tokens(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    ids_NJ: Tensor,
    forbidden: Tensor,
    k: int,
    sizes: TileSizes | None = None,
) -> tuple[TopTokens, Tensor]:
    """Return the k most likely tokens and the log-probabilities of ``ids_NJ``, without gradient. See :func:`token_logprobs`.

    Raises:
        VicurError: if fewer than ``k`` ids have a probability.
    """
    allowed = len(weight_VH) - len(forbidden)
    if k > allowed:
        raise VicurError(
            f"k is {k}, but the vocabulary has only {allowed} tokens that can be sampled.",
            where="objective.k",
            remedy=f"Set k to at most {allowed}, or use forward_kl, which sums over all tokens.",
        )
    sizes = sizes or TileSizes.suited_to(hidden_NH.device)
    swept = _sweep(hidden_NH, weight_VH, ids_NJ, forbidden, sizes, top=k)
    normaliser_N1 = swept.normaliser_N[:, None]
    return TopTokens(swept.top_ids_NK, swept.top_logits_NK - normaliser_N1), swept.logits_NJ - normaliser_N1


@dataclass(frozen=True, eq=False)
class _Sweep:
    """Results of one pass over the vocabulary."""

    logits_NJ: Tensor
    normaliser_N: Tensor
    entropy_N: Tensor
    top_ids_NK: Tensor
    top_logits_NK: Tensor


def _sweep(
    hidden_NH: Tensor, weight_VH: Tensor, ids_NJ: Tensor, forbidden: Tensor, sizes: TileSizes, top: int = 0
) -> _Sweep:
    count, wide = len(hidden_NH), accumulation_dtype(hidden_NH)
    logits_NJ = hidden_NH.new_empty(ids_NJ.shape, dtype=wide)
    best = _TopLogits(ids_NJ.new_zeros(count, top), hidden_NH.new_full((count, top), -torch.inf, dtype=wide))
    softmax = RunningSoftmax(count, logits_NJ)
    with without_autocast(hidden_NH):
        for tile in vocabulary_tiles(len(weight_VH), forbidden, sizes.width(count)):
            for rows in sizes.token_tiles(count):
                logits_NV = tile.logits(hidden_NH[rows], weight_VH)
                softmax.add(logits_NV, rows)
                inside_NJ, columns_NJ = tile.find(ids_NJ[rows])
                logits_NJ[rows] = torch.where(inside_NJ, logits_NV.gather(1, columns_NJ), logits_NJ[rows])
                if top:
                    best.add(logits_NV, rows, tile.start)
    return _Sweep(logits_NJ, softmax.log_normaliser(), softmax.entropy(), best.ids_NK, best.logits_NK)


@dataclass(frozen=True, eq=False)
class _TopLogits:
    """The highest logits so far and their ids."""

    ids_NK: Tensor
    logits_NK: Tensor

    def add(self, logits_NV: Tensor, rows: slice, start: int) -> None:
        """Merge a tile's logits of ``rows``. ``start`` is the tile's first id."""
        k = self.logits_NK.shape[1]
        highest = logits_NV.topk(min(k, logits_NV.shape[1]), dim=-1)
        candidates_NC = torch.cat([self.logits_NK[rows], highest.values], dim=1)
        ids_NC = torch.cat([self.ids_NK[rows], highest.indices + start], dim=1)
        self.logits_NK[rows], places_NK = candidates_NC.topk(k, dim=-1)
        self.ids_NK[rows] = ids_NC.gather(1, places_NK)


class _TokenLogprobs(torch.autograd.Function):
    """d log p(i_k) / dz_v = [v = i_k] - p_v, summed over k with the incoming gradients."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, ids_NK: Tensor, forbidden: Tensor, sizes: TileSizes
    ) -> tuple[Tensor, Tensor]:
        swept = _sweep(hidden_NH, weight_VH, ids_NK, forbidden, sizes)
        logprobs_NK = swept.logits_NJ - swept.normaliser_N[:, None]
        logprobs_NK.masked_fill_(torch.isin(ids_NK, forbidden), -torch.inf)
        ctx.save_for_backward(hidden_NH, weight_VH, ids_NK, forbidden, swept.normaliser_N)
        ctx.sizes = sizes
        ctx.mark_non_differentiable(swept.entropy_N)
        return logprobs_NK, swept.entropy_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NK: Tensor, _entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, ids_NK, forbidden, normaliser_N = ctx.saved_tensors
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        wide, sizes = normaliser_N.dtype, ctx.sizes
        hidden_grad_NH = hidden_NH.new_zeros(hidden_NH.shape, dtype=wide) if needs_hidden else None
        weight_grad_VH = empty_gradient(weight_VH, weight_VH.dtype, tokens=len(hidden_NH)) if needs_weight else None
        total_N1 = -grad_NK.sum(-1, keepdim=True)
        with without_autocast(hidden_NH):
            for tile in vocabulary_tiles(len(weight_VH), forbidden, sizes.width(len(hidden_NH))):
                # Sum over all tokens in wide precision before rounding to the weights' precision.
                tile_grad_VH = None if weight_grad_VH is None else weight_grad_VH[tile.ids].to(wide)
                for rows in sizes.token_tiles(len(hidden_NH)):
                    logits_NV = tile.logits(hidden_NH[rows], weight_VH)
                    grad_NV = logits_NV.sub_(normaliser_N[rows, None]).exp_().mul_(total_N1[rows])
                    inside_NK, columns_NK = tile.find(ids_NK[rows])
                    grad_NV.scatter_add_(1, columns_NK, torch.where(inside_NK, grad_NK[rows], 0.0))
                    grad_NV = tile.mask_(grad_NV, 0.0).to(hidden_NH.dtype)
                    if hidden_grad_NH is not None:
                        add_product_(hidden_grad_NH[rows], grad_NV, weight_VH[tile.ids])
                    if tile_grad_VH is not None:
                        add_product_(tile_grad_VH, grad_NV.t(), hidden_NH[rows], first=rows.start == 0)
                if weight_grad_VH is not None and tile_grad_VH is not None and weight_grad_VH.dtype != wide:
                    weight_grad_VH[tile.ids] = tile_grad_VH
        if hidden_grad_NH is not None:
            hidden_grad_NH = hidden_grad_NH.to(hidden_NH.dtype)
        return hidden_grad_NH, weight_grad_VH, None, None, None
