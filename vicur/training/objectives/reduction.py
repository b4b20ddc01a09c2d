"""From terms of tokens to the loss of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def token_weights(mask_BR: Tensor, responses: int | None = None) -> Tensor:
    """Weights of tokens whose weighted sum is the mean over responses of the mean over their tokens: w_n = 1 / (|y| M).

    A weight depends on the token's own response and on M alone. So the losses of micro-batches add up to the loss of their batch,
    however it is split, and ``weights_BR[mask_BR]`` weighs the same tokens where they are packed. A response without tokens counts as zero.

    Args:
        mask_BR: true at tokens of a response, false at padding.
        responses: M, responses of the whole batch (over all its micro-batches and processes); the rows of the mask where left out.

    Returns:
        float32 [B, R], zero at padding.
    """
    lengths_B1 = mask_BR.sum(-1, keepdim=True).clamp(min=1)
    return mask_BR / (lengths_B1.float() * (len(mask_BR) if responses is None else responses))


def weighted_sum(terms: Tensor, weights: Tensor) -> Tensor:
    """sum_n w_n terms_n. A term of weight zero takes no part, whatever it is.

    Args:
        terms: a number a token, of any shape.
        weights: weights of the same shape.
    """
    return (weights * torch.where(weights == 0, 0.0, terms)).sum()
