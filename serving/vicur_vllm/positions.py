"""Sinks and visual tokens of the requests in a forward, from what vLLM itself knows of its tokens.

Where a request begins and how much of it earlier forwards have computed stands in the attention's metadata. Which tokens are visual says
the mask with which vLLM puts in the features of images: text that spells a special token stays text. From there on the code is the one
that training uses.

Axes: T tokens of a forward, those of a request in a row; Q requests in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vicur.errors import VicurError
from vicur.modeling.positions import CuePositions, find_sequences, locate


class AttentionMetadata(Protocol):
    """What is read of the metadata of vLLM's attention backends.

    Attributes:
        query_start_loc: offsets of the requests in the forward, from 0 to T [Q + 1].
        seq_lens: tokens of each request, those of earlier forwards included [Q].
        max_query_len: tokens of the forward's longest request.
    """

    query_start_loc: Tensor
    seq_lens: Tensor
    max_query_len: int


@dataclass(frozen=True, eq=False)
class ForwardTokens:
    """The tokens of a forward as they are embedded.

    Attributes:
        visual_T: true at visual tokens; on the CPU, as vLLM has it.
        header_T: true where a turn begins; none for sink ``first``.
    """

    visual_T: Tensor
    header_T: Tensor | None


def forward_positions(tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
    """Positions in a forward, or ``None`` where it holds no prompt with images.

    Raises:
        VicurError: where it holds the rest of a prompt only, with an image or the sink in it.
    """
    has_images = bool(tokens.visual_T.any())
    if not has_images and (tokens.header_T is None or metadata.max_query_len == 1):
        return None
    boundaries = metadata.query_start_loc.long()
    device, count = boundaries.device, len(tokens.visual_T)
    visual_1T = tokens.visual_T.to(device)[None]
    header_1T = None if tokens.header_T is None else tokens.header_T.to(device)[None]
    ids_1T = find_sequences((1, count), device, boundaries=boundaries)
    computed_Q = metadata.seq_lens.to(device)[: len(boundaries) - 1] - boundaries.diff()
    decisive_1T = visual_1T if header_1T is None else visual_1T | header_1T
    if bool((decisive_1T & (computed_Q > 0)[ids_1T]).any()):
        raise _split_prompt()
    return locate(ids_1T, visual_1T, header_1T) if has_images else None


def _split_prompt() -> VicurError:
    return VicurError(
        "a prompt came in parts, and cue recovery needs it whole.",
        where="a student with cue recovery in vLLM",
        remedy="Start the engine with the arguments of vicur_vllm.engine_arguments, and send prompts whole.",
    )


def tokens_of(ids_T: Tensor, visual_T: Tensor | None, start_id: int | None) -> ForwardTokens:
    """Tokens with these ids.

    Args:
        ids_T: their ids.
        visual_T: true where vLLM puts in features of images; none where it does nowhere.
        start_id: id of ``<|im_start|>`` for sink ``assistant``; none for sink ``first``.
    """
    visual_T = torch.zeros(len(ids_T), dtype=torch.bool) if visual_T is None else visual_T
    return ForwardTokens(visual_T, None if start_id is None else torch.eq(ids_T, start_id))
