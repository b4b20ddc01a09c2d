"""Drawing the next token of each row from its logits."""

from __future__ import annotations

import torch
from torch import Tensor

from vicur.config.sampling import Sampling


def draw(
    logits_BV: Tensor, forbidden: Tensor, sampling: Sampling, seen_BV: Tensor | None, uniforms_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws one token a row, by inverting the cumulative distribution: what a row draws depends on its own number alone.

    Args:
        logits_BV: logits of the next token.
        forbidden: ids that are never drawn.
        sampling: how to draw.
        seen_BV: true at tokens that the response holds already, for the presence penalty.
        uniforms_B: a number from [0, 1) a row; not used when greedy.

    Returns:
        Token ids [B] and their log-probabilities [B] under the masked distribution, untempered.
    """
    logits_BV = logits_BV.float().index_fill(-1, forbidden, float("-inf"))
    scores_BV = logits_BV if seen_BV is None else logits_BV - sampling.presence_penalty * seen_BV
    probabilities_BV = None
    if sampling.temperature == 0:
        tokens_B1 = scores_BV.argmax(-1, keepdim=True)
    elif sampling.temperature == 1 and seen_BV is None and not _truncates(sampling, logits_BV.shape[-1]):
        probabilities_BV = logits_BV.softmax(-1)
        tokens_B1 = _invert(probabilities_BV, uniforms_B)
    else:
        scores_BC, ids_BC = _candidates(scores_BV / sampling.temperature, sampling)
        places_B1 = _invert(scores_BC.softmax(-1), uniforms_B)
        tokens_B1 = places_B1 if ids_BC is None else ids_BC.gather(-1, places_B1)
    return tokens_B1[:, 0], _logprobs(logits_BV, probabilities_BV, tokens_B1)


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


def _invert(probabilities_BC: Tensor, uniforms_B: Tensor) -> Tensor:
    """The first place whose cumulated probability exceeds each row's number [B, 1]: one without probability never does first."""
    # In float32, small probabilities would be lost in a sum over a large vocabulary.
    mass_BC = probabilities_BC.cumsum(-1, dtype=torch.float64)
    total_B1 = mass_BC[:, -1:]
    # A number just below 1 may round up to the total, which nothing exceeds.
    aims_B1 = torch.minimum(uniforms_B.double()[:, None] * total_B1, total_B1.nextafter(torch.zeros_like(total_B1)))
    return torch.searchsorted(mass_BC, aims_B1, right=True)


def _logprobs(logits_BV: Tensor, probabilities_BV: Tensor | None, tokens_B1: Tensor) -> Tensor:
    """Log-probabilities of tokens [B], from the probabilities where those are there already: they are a pass over the vocabulary."""
    chosen_B = logits_BV.gather(-1, tokens_B1)[:, 0]
    if probabilities_BV is None:
        return chosen_B - logits_BV.logsumexp(-1)
    # By way of the likeliest token, whose probability is never too small for its logarithm.
    return chosen_B - logits_BV.amax(-1) + probabilities_BV.amax(-1).log()
