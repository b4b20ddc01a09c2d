"""Drawing the next token of each row, by inverting the cumulative distribution: what a row draws depends on its own number alone."""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.config.sampling import Sampling
from vicur.modeling.tiles import accumulation_dtype, exponential, vocabulary_tiles, without_autocast

_BLOCK = 512
_TILE = 16 * _BLOCK


def is_plain(sampling: Sampling, vocabulary: int) -> bool:
    """Whether tokens are drawn from the distribution as it is, as in training: untempered, untruncated, without a penalty."""
    return sampling.temperature == 1 and not sampling.presence_penalty and not _truncates(sampling, vocabulary)


class PlainDraws:
    """Draws from the distribution as it is, right from hidden states.

    A tile of logits is turned into weights while it is in the cache, in memory that serves one token after the other.

    Args:
        head_VH: weights of the output layer.
        forbidden: ids that are never drawn, sorted.
        rows: how many tokens are drawn at once, at most.
    """

    def __init__(self, head_VH: Tensor, forbidden: Tensor, rows: int) -> None:
        self._head_VH = head_VH
        self._tiles = vocabulary_tiles(len(head_VH), forbidden, _TILE)
        self._room_BV = head_VH.new_empty(rows, len(head_VH), dtype=accumulation_dtype(head_VH))

    def draw(self, hidden_BH: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
        """Draws one token a row.

        Args:
            hidden_BH: states that predict the tokens.
            uniforms_B: a number from [0, 1) a row.

        Returns:
            Token ids [B] and their log-probabilities [B].
        """
        weights_BV = self._room_BV[: len(hidden_BH)]
        sums, highest = [], []
        with without_autocast(hidden_BH):
            for tile in self._tiles:
                tile_BC = tile.logits(hidden_BH, self._head_VH, out=weights_BV[:, tile.ids])
                highest.append(tile_BC.amax(-1, keepdim=True))
                sums.append(_block_sums(exponential(tile_BC.sub_(highest[-1]), out=tile_BC)))
        # The weights of a tile are relative to its own highest: scales make them comparable.
        highest_BT = torch.cat(highest, dim=-1)
        scales_BT = (highest_BT - highest_BT.amax(-1, keepdim=True)).exp()
        sums_BK = torch.cat(
            [sums_BK * scale_B1 for sums_BK, scale_B1 in zip(sums, scales_BT.split(1, -1), strict=True)], -1
        )
        tokens_B1 = _invert(weights_BV, sums_BK, uniforms_B)
        mass_B1 = weights_BV.gather(-1, tokens_B1) * scales_BT.gather(-1, tokens_B1 // _TILE)
        return tokens_B1[:, 0], (mass_B1[:, 0] / sums_BK.sum(-1)).log()


def draw(
    logits_BV: Tensor, forbidden: Tensor, sampling: Sampling, seen_BV: Tensor | None, uniforms_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws one token a row, however ``sampling`` says.

    Args:
        logits_BV: logits of the next token; overwritten.
        forbidden: ids that are never drawn.
        sampling: how to draw.
        seen_BV: true at tokens that the response holds already, for the presence penalty.
        uniforms_B: a number from [0, 1) a row; not used when greedy.

    Returns:
        Token ids [B] and their log-probabilities [B] under the masked distribution, untempered.
    """
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
    """Scores of the tokens that truncation leaves [B, C], the others at minus infinity, and the ids that they belong to (all in order)."""
    if 0 < sampling.top_k < scores_BV.shape[-1]:
        scores_BC, ids_BC = scores_BV.topk(sampling.top_k, dim=-1)
    elif sampling.top_p < 1:
        scores_BC, ids_BC = scores_BV.sort(-1, descending=True)
    else:
        return scores_BV, None
    if sampling.top_p < 1:
        shares_BC = scores_BC.softmax(-1)
        # A token stays while the tokens before it hold less than top_p: the first always does.
        scores_BC = scores_BC.masked_fill(shares_BC.cumsum(-1) - shares_BC >= sampling.top_p, float("-inf"))
    return scores_BC, ids_BC


def _block_sums(weights_BC: Tensor) -> Tensor:
    """Sums of the weights by blocks, the last of which may be short [B, K]."""
    whole = weights_BC.shape[-1] // _BLOCK * _BLOCK
    sums_BK: Tensor = weights_BC[:, :whole].unflatten(-1, (-1, _BLOCK)).sum(-1)
    if whole == weights_BC.shape[-1]:
        return sums_BK
    return torch.cat([sums_BK, weights_BC[:, whole:].sum(-1, keepdim=True)], dim=-1)


def _invert(weights_BC: Tensor, sums_BK: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first place at which the cumulated share of a row's weights exceeds its number [B, 1]: one without weight never does first.

    A large vocabulary is cumulated by blocks, and then within the one block of each row: a running sum over all of it takes longer than
    everything else that is done to draw. So the weights need the same scale within a block only.
    """
    numbers_B1 = uniforms_B.double()[:, None]
    if sums_BK.shape[-1] == 1:
        return _first_above(weights_BC, numbers_B1)[0]
    block_B1, numbers_B1 = _first_above(sums_BK, numbers_B1)
    places_BL = block_B1 * _BLOCK + torch.arange(_BLOCK, device=weights_BC.device)
    count = weights_BC.shape[-1]
    within_BL = weights_BC.gather(-1, places_BL.clamp(max=count - 1)).masked_fill(places_BL >= count, 0.0)
    return block_B1 * _BLOCK + _first_above(within_BL, numbers_B1)[0]


def _first_above(weights_BC: Tensor, numbers_B1: Tensor) -> tuple[Tensor, Tensor]:
    """The first place at which the cumulated share of the weights exceeds a number, and how far into that place's own share the number is,
    from [0, 1), each [B, 1].
    """
    # In float32, small weights would be lost in a long sum.
    mass_BC = weights_BC.cumsum(-1, dtype=torch.float64)
    total_B1 = mass_BC[:, -1:]
    # A number just below 1 may round up to the total, which nothing exceeds.
    aims_B1 = torch.minimum(numbers_B1 * total_B1, total_B1.nextafter(torch.zeros_like(total_B1)))
    places_B1 = torch.searchsorted(mass_BC, aims_B1, right=True)
    through_B1 = mass_BC.gather(-1, places_B1)
    before_B1 = torch.where(places_B1 > 0, mass_BC.gather(-1, (places_B1 - 1).clamp(min=0)), 0.0)
    return places_B1, (aims_B1 - before_B1) / (through_B1 - before_B1)
