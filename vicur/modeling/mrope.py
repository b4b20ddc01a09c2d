"""Positions of a prompt's tokens for M-RoPE (arXiv 2409.12191, section 2.1; Qwen3-VL keeps its rule for images).

Qwen3-VL tells the times of a video in text. Each group of its frames is framed as an image is, and its tokens are placed like an image's.

Text counts up, equally in all three dimensions. An image's tokens share the time at which the image starts, and count rows and columns
from there; the following text continues after the longer side. transformers derives the same from a padded batch, row by row; here the
positions of a prompt are computed once, however often it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

# Token types of transformers; 0 is text.
IMAGE, VIDEO = 1, 2


def mrope_positions(
    types: Sequence[int],  # IMAGE or VIDEO at visual tokens, 0 at text
    grids: Sequence[tuple[int, int, int]],  # frames, rows and columns of each run of visual tokens
) -> Tensor:
    """Compute the positions in time, height and width of each token [3, T]."""
    # Each run of visual tokens is one image or one group of frames: they are never adjacent, because each is framed by control tokens.
    images = iter(grids)
    parts, place = [], 0
    for visual, run in groupby(types):
        if visual:
            frames, rows, columns = next(images)
            axes = torch.arange(frames), torch.arange(rows), torch.arange(columns)
            parts.append(torch.cartesian_prod(*axes).view(-1, 3).T + place)
            place += max(rows, columns)
        else:
            count = sum(1 for _ in run)
            parts.append(torch.arange(place, place + count).expand(3, -1))
            place += count
    return torch.cat(parts, dim=1)
