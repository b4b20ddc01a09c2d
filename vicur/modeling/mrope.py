"""Positions of a prompt's tokens for M-RoPE (arXiv 2409.12191, section 2.1; Qwen3-VL keeps its rule for images).

Text counts up, the same in all three dimensions. An image's tokens share the time at which the image begins, and count rows and columns
from there; what follows goes on after the longer of its sides. transformers derives the same from a padded batch, row by row; here a
prompt's positions are made once, however often it is answered and scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor


def mrope_positions(types: Sequence[int], grids: Sequence[tuple[int, int, int]]) -> Tensor:
    """Positions in time, height and width of each token [3, T].

    Args:
        types: 1 at visual tokens, 0 at text. Images do not touch: the chat template frames each.
        grids: frames, rows and columns of each image, in visual tokens.
    """
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
