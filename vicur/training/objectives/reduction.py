"""From terms of tokens to the loss of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def token_weights(mask_BR: Tensor, responses: int | None = None) -> Tensor:
    """Return the weights whose weighted sum is the mean over responses of the mean over their tokens: w_n = 1 / (|y| M).

    M is the number of ``responses`` in the batch, over all micro-batches and processes (default: the rows of the mask). Weights are zero at
    padding, and a response without tokens counts as zero.
    """
    # A weight depends only on the length of its response and on M. So losses of micro-batches add up, and packing keeps the weights.
    lengths_B1 = mask_BR.sum(-1, keepdim=True).clamp(min=1)
    return mask_BR / (lengths_B1.float() * (len(mask_BR) if responses is None else responses))


def equal_token_weights(mask_BR: Tensor, tokens: int | None = None) -> Tensor:
    """Return the weights whose weighted sum is the mean over all tokens: w_n = 1 / N, zero at padding.

    N is the number of ``tokens`` in the batch, over all micro-batches and processes (default: those of the mask). Long responses weigh more
    than short ones (DAPO, arXiv 2503.14476, section 3.3).
    """
    count = int(mask_BR.sum()) if tokens is None else tokens
    return mask_BR / float(max(count, 1))


def weighted_sum(terms: Tensor, weights: Tensor) -> Tensor:
    """Return sum_n w_n terms_n. A term with weight zero is ignored, even if it is NaN."""
    return (weights * torch.where(weights == 0, 0.0, terms)).sum()
