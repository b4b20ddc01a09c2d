"""Find the sinks and visual tokens of the requests in a forward pass from vLLM's own metadata.

The attention metadata contains the boundaries of requests and how many of their tokens were computed before. The mask with which vLLM
inserts image features determines which tokens are visual, so that text that spells a special token stays text. The positions are then
computed by the same code as in training.

Axes: T tokens of a forward pass (those of a request are contiguous), Q requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vicur.errors import VicurError
from vicur.modeling.positions import CuePositions, find_sequences, locate


class AttentionMetadata(Protocol):
    """The part of the metadata of vLLM's attention backends that is used here."""

    query_start_loc: Tensor  # offsets of the requests in the forward pass, from 0 to T [Q + 1]
    seq_lens: Tensor  # tokens of each request, including those of earlier forward passes [Q]
    max_query_len: int  # tokens of the longest request in the forward pass


@dataclass(frozen=True, eq=False)
class ForwardTokens:
    """Tokens of a forward pass."""

    visual_T: Tensor  # true at visual tokens; on the CPU, like vLLM's mask
    header_T: Tensor | None  # true at the start of each turn; None for the sink "first"


def forward_positions(tokens: ForwardTokens, metadata: AttentionMetadata) -> CuePositions | None:
    """Return the positions for cue recovery in a forward pass, or ``None`` if it has no prompt with images.

    Raises:
        VicurError: if the forward pass continues a prompt, and this part of it contains an image or the sink.
    """
    has_images = bool(tokens.visual_T.any())
    # With the sink "assistant", a forward pass without images may still contain a part of a split prompt, unless it only decodes.
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
        "a prompt was split into several forward passes, but cue recovery needs the whole prompt in one.",
        where="student with cue recovery in vLLM",
        remedy="Start the engine with the arguments of vicur_vllm.engine_arguments, and do not send prompts in parts.",
    )


def tokens_of(ids_T: Tensor, visual_T: Tensor | None, start_id: int | None) -> ForwardTokens:
    """Describe the tokens of a forward pass.

    Args:
        ids_T: token ids.
        visual_T: true at positions that receive image features; ``None`` if there are none.
        start_id: id of ``<|im_start|>`` for the sink ``assistant``; ``None`` for the sink ``first``.
    """
    visual_T = torch.zeros(len(ids_T), dtype=torch.bool) if visual_T is None else visual_T
    return ForwardTokens(visual_T, None if start_id is None else torch.eq(ids_T, start_id))
