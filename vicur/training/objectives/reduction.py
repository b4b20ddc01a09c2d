"""From terms of tokens to the loss of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def token_weights(mask_BR: Tensor, responses: int | None = None) -> Tensor:
    """Return the weights whose weighted sum is the mean over responses of the mean over their tokens: w_n = 1 / (|y| M).

    A weight depends only on the length of its response and on M, so the losses of micro-batches add up to the loss of their batch, and
    ``weights_BR[mask_BR]`` are the weights of packed tokens. A response without tokens counts as zero.

    Args:
        mask_BR: true at tokens of a response, false at padding.
        responses: M, the number of responses in the batch, over all micro-batches and processes. Default: the rows of the mask.

    Returns:
        float32 [B, R], zero at padding.
    """
    lengths_B1 = mask_BR.sum(-1, keepdim=True).clamp(min=1)
    return mask_BR / (lengths_B1.float() * (len(mask_BR) if responses is None else responses))


def weighted_sum(terms: Tensor, weights: Tensor) -> Tensor:
    """Return sum_n w_n terms_n. A term with weight zero is ignored, even if it is NaN."""
    return (weights * torch.where(weights == 0, 0.0, terms)).sum()
