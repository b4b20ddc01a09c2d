"""Sample the next token of each row by inverting the cumulative distribution: a row's token depends on its own random number only."""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.config.sampling import Sampling
from vicur.modeling.tiles import accumulation_dtype, exponential, vocabulary_tiles, without_autocast

# A vocabulary is cumulated in blocks, and logits are computed in tiles of whole blocks.
_BLOCK = 512
_TILE = 16 * _BLOCK


def is_plain(sampling: Sampling, vocabulary: int) -> bool:
    """Return whether tokens are sampled from the unmodified distribution, as in training: no temperature, truncation or penalty."""
    return sampling.temperature == 1 and not sampling.presence_penalty and not _truncates(sampling, vocabulary)


class PlainSampler:
    """Samples from the unmodified distribution directly from hidden states, at most ``rows`` tokens at a time."""

    def __init__(self, head_VH: Tensor, forbidden: Tensor, rows: int) -> None:
        self._head_VH = head_VH
        self._tiles = vocabulary_tiles(len(head_VH), forbidden, _TILE)
        self._buffer_BV = head_VH.new_empty(rows, len(head_VH), dtype=accumulation_dtype(head_VH))

    def sample(self, hidden_BH: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
        """Sample one token per row from random numbers in [0, 1). Returns token ids [B] and their log-probabilities [B]."""
        weights_BV = self._buffer_BV[: len(hidden_BH)]
        sums, highest = [], []
        with without_autocast(hidden_BH):
            # Each tile of logits is exponentiated while it is in the cache.
            for tile in self._tiles:
                tile_BC = tile.logits(hidden_BH, self._head_VH, out=weights_BV[:, tile.ids])
                highest.append(tile_BC.amax(-1, keepdim=True))
                sums.append(_block_sums(exponential(tile_BC.sub_(highest[-1]), out=tile_BC)))
        # Each tile's weights are relative to its own maximum, so rescale their sums to the overall maximum.
        highest_BT = torch.cat(highest, dim=-1)
        scales_BT = (highest_BT - highest_BT.amax(-1, keepdim=True)).exp()
        sums_BK = torch.cat(
            [sums_BK * scale_B1 for sums_BK, scale_B1 in zip(sums, scales_BT.split(1, -1), strict=True)], -1
        )
        tokens_B1 = _invert(weights_BV, sums_BK, uniforms_B)
        mass_B1 = weights_BV.gather(-1, tokens_B1) * scales_BT.gather(-1, tokens_B1 // _TILE)
        return tokens_B1[:, 0], (mass_B1[:, 0] / sums_BK.sum(-1)).log()


def sample(
    logits_BV: Tensor,  # overwritten
    forbidden: Tensor,
    sampling: Sampling,
    seen_BV: Tensor | None,  # true at tokens that the response already contains, for the presence penalty
    uniforms_B: Tensor,  # random numbers in [0, 1); not used by greedy decoding
) -> tuple[Tensor, Tensor]:
    """Sample one token per row. Returns token ids [B] and their log-probabilities [B] under the untempered, untruncated distribution."""
    logits_BV = logits_BV.float().index_fill_(-1, forbidden, float("-inf"))
    scores_BV = logits_BV if seen_BV is None else logits_BV - sampling.presence_penalty * seen_BV
    if sampling.temperature == 0:
        tokens_B1 = scores_BV.argmax(-1, keepdim=True)
    else:
        scores_BC, ids_BC = _candidates(scores_BV / sampling.temperature, sampling)
        weights_BC = scores_BC.softmax(-1)
        places_B1 = _invert(weights_BC, _block_sums(weights_BC), uniforms_B)
        tokens_B1 = places_B1 if ids_BC is None else ids_BC.gather(-1, places_B1)
    return tokens_B1[:, 0], logits_BV.gather(-1, tokens_B1)[:, 0] - logits_BV.logsumexp(-1)


def _truncates(sampling: Sampling, vocabulary: int) -> bool:
    return 0 < sampling.top_k < vocabulary or sampling.top_p < 1


def _candidates(scores_BV: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """Return the scores of the tokens that truncation keeps [B, C], others at minus infinity, and their ids (``None``: all, in order)."""
    if 0 < sampling.top_k < scores_BV.shape[-1]:
        scores_BC, ids_BC = scores_BV.topk(sampling.top_k, dim=-1)
    elif sampling.top_p < 1:
        scores_BC, ids_BC = scores_BV.sort(-1, descending=True)
    else:
        return scores_BV, None
    if sampling.top_p < 1:
        shares_BC = scores_BC.softmax(-1)
        # Keep a token if the tokens before it have a total below top_p, so the first is always kept.
        scores_BC = scores_BC.masked_fill(shares_BC.cumsum(-1) - shares_BC >= sampling.top_p, float("-inf"))
    return scores_BC, ids_BC


def _block_sums(weights_BC: Tensor) -> Tensor:
    """Sum the weights by blocks [B, K]. The last block may be shorter."""
    whole = weights_BC.shape[-1] // _BLOCK * _BLOCK
    sums_BK: Tensor = weights_BC[:, :whole].unflatten(-1, (-1, _BLOCK)).sum(-1)
    if whole == weights_BC.shape[-1]:
        return sums_BK
    return torch.cat([sums_BK, weights_BC[:, whole:].sum(-1, keepdim=True)], dim=-1)


def _invert(weights_BC: Tensor, sums_BK: Tensor, uniforms_B: Tensor) -> Tensor:
    """Return the first index at which the cumulative share of a row's weights exceeds its random number [B, 1]."""
    # Cumulate a large vocabulary by blocks, then within the one selected block of each row: a running sum over all of it
    # would take longer than the rest of sampling. Weights therefore need a common scale only within a block.
    numbers_B1 = uniforms_B.double()[:, None]
    if sums_BK.shape[-1] == 1:
        return _first_above(weights_BC, numbers_B1)[0]
    block_B1, numbers_B1 = _first_above(sums_BK, numbers_B1)
    places_BL = block_B1 * _BLOCK + torch.arange(_BLOCK, device=weights_BC.device)
    count = weights_BC.shape[-1]
    within_BL = weights_BC.gather(-1, places_BL.clamp(max=count - 1)).masked_fill(places_BL >= count, 0.0)
    # The last block may be shorter, which matters only for NaN.
    return (block_B1 * _BLOCK + _first_above(within_BL, numbers_B1)[0]).clamp(max=count - 1)


def _first_above(weights_BC: Tensor, numbers_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first index at which the cumulative share exceeds a number, and the number's position within that entry's share, from
    [0, 1), each [B, 1].
    """
    # In float32, small weights would vanish in a long sum.
    mass_BC = weights_BC.cumsum(-1, dtype=torch.float64)
    total_B1 = mass_BC[:, -1:]
    # A number just below 1 may round up to the total, which no cumulative sum exceeds.
    aims_B1 = torch.minimum(numbers_B1 * total_B1, total_B1.nextafter(torch.zeros_like(total_B1)))
    # NaN is above every number. The caller reports it; an index out of range would end a GPU's process.
    places_B1 = torch.searchsorted(mass_BC, aims_B1, right=True).clamp(max=mass_BC.shape[-1] - 1)
    through_B1 = mass_BC.gather(-1, places_B1)
    before_B1 = torch.where(places_B1 > 0, mass_BC.gather(-1, (places_B1 - 1).clamp(min=0)), 0.0)
    return places_B1, (aims_B1 - before_B1) / (through_B1 - before_B1)
