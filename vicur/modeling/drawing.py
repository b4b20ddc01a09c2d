"""Drawing the next token of each row from its logits."""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.config.sampling import Sampling

_BLOCK = 512


def draw(
    logits_BV: Tensor, forbidden: Tensor, sampling: Sampling, seen_BV: Tensor | None, uniforms_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws one token a row, by inverting the cumulative distribution: what a row draws depends on its own number alone.

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
    if seen_BV is None and sampling.temperature == 1 and not _truncates(sampling, logits_BV.shape[-1]):
        # The plain case of training: what is drawn from also gives the log-probability, and takes no memory of its own.
        weights_BV = logits_BV.sub_(logits_BV.amax(-1, keepdim=True)).exp_()
        tokens_B1 = _invert(weights_BV, uniforms_B)
        return tokens_B1[:, 0], (weights_BV.gather(-1, tokens_B1)[:, 0] / weights_BV.sum(-1)).log()
    scores_BV = logits_BV if seen_BV is None else logits_BV - sampling.presence_penalty * seen_BV
    if sampling.temperature == 0:
        tokens_B1 = scores_BV.argmax(-1, keepdim=True)
    else:
        scores_BC, ids_BC = _candidates(scores_BV / sampling.temperature, sampling)
        places_B1 = _invert(scores_BC.softmax(-1), uniforms_B)
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


def _invert(weights_BC: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first place at which the cumulated share of a row's weights exceeds its number [B, 1]: one without weight never does first.

    A large vocabulary is cumulated by blocks, and then within the one block of each row: a running sum over all of it takes longer than
    everything else that is done to draw.
    """
    numbers_B1 = uniforms_B.double()[:, None]
    count = weights_BC.shape[-1]
    if count <= _BLOCK:
        return _first_above(weights_BC, numbers_B1)[0]
    whole = count - count % _BLOCK
    sums_BK = weights_BC[:, :whole].unflatten(-1, (-1, _BLOCK)).sum(-1)
    if whole < count:
        sums_BK = torch.cat([sums_BK, weights_BC[:, whole:].sum(-1, keepdim=True)], dim=-1)
    block_B1, numbers_B1 = _first_above(sums_BK, numbers_B1)
    places_BL = block_B1 * _BLOCK + torch.arange(_BLOCK, device=weights_BC.device)
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
