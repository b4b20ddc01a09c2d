"""Positions at which cue recovery reads and writes: the sink token and the visual tokens of each sequence.

Nothing is inferred from the text. Visual tokens are known from the token types, sequences from the attention mask or the boundaries of a
pack. Left, right and no padding, a batch and a pack give the same result.

Axes: B rows, T columns, S sequences with visual tokens, N visual tokens of the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.masking_utils import find_packed_sequence_indices

from vicur.errors import VicurError

# Sequence id of padding.
PADDING = -1


@dataclass(frozen=True, eq=False)
class CuePositions:
    """Positions in a batch flattened to B * T tokens, of the sequences with visual tokens."""

    sinks_S: Tensor  # sink token of each sequence
    visual_SN: Tensor  # its visual tokens in order, padded with the first of them
    valid_SN: Tensor  # false at the padding of visual_SN


def find_sequences(
    shape: tuple[int, int],  # rows B and columns T
    device: torch.device,
    # 1 at tokens and 0 at padding [B, T], or the full mask of causal attention, boolean or additive [B, 1, T, >= T]
    attention_mask: Tensor | None = None,
    # text positions [B, T], or text and M-RoPE positions [4, B, T]; M-RoPE positions alone [3, B, T] are ignored
    position_ids: Tensor | None = None,
    # offsets of the sequences of a one-row pack, from 0 to T (cu_seq_lens_q of flash attention)
    boundaries: Tensor | None = None,
) -> Tensor:
    """Assign sequence ids [B, T] to tokens, from the inputs that give attention the same information.

    Ids are equal within a sequence, different between the sequences of a row, and ``PADDING`` at padding.
    """
    rows, columns = shape
    if boundaries is not None:
        places_T = torch.arange(columns, device=device)
        return torch.bucketize(places_T, boundaries.to(device)[1:], right=True).expand(rows, columns)
    if attention_mask is not None:
        if not isinstance(attention_mask, Tensor) or attention_mask.ndim not in (2, 4):
            raise VicurError(
                "cue recovery cannot determine the sequences from this attention mask.",
                where="attention_mask",
                remedy="Pass sequence_ids, or a mask with 2 or 4 dimensions.",
            )
        mask = attention_mask.to(device)
        return _from_full_mask(mask, columns) if mask.ndim == 4 else torch.where(mask.bool(), 0, PADDING)
    if position_ids is not None and (position_ids.ndim == 2 or position_ids.shape[0] == 4):
        # By transformers' rule, a row without a mask is a pack if its positions do not increase by one.
        text_BT = position_ids if position_ids.ndim == 2 else position_ids[0]
        packed_BT = find_packed_sequence_indices(text_BT.to(device).expand(rows, columns))
        if packed_BT is not None:
            return packed_BT
    return torch.zeros(shape, dtype=torch.long, device=device)


def _from_full_mask(mask: Tensor, columns: int) -> Tensor:
    # Queries with the same first attended key belong to the same sequence.
    allowed_BTT = mask[:, 0, :, :columns]
    if allowed_BTT.dtype != torch.bool:
        allowed_BTT = allowed_BTT > torch.finfo(allowed_BTT.dtype).min / 2
    start_BT = allowed_BTT.int().argmax(-1)
    is_token_BT = allowed_BTT.diagonal(dim1=-2, dim2=-1)
    return torch.where(is_token_BT, start_BT, PADDING)


def locate(
    ids_BT: Tensor,  # sequence ids from find_sequences
    visual_BT: Tensor,  # true at visual tokens
    # true at the start of each turn; the last one in a sequence is its sink. By default, its first token is.
    header_BT: Tensor | None = None,
) -> CuePositions | None:
    """Find the sinks and visual tokens of all sequences at once, or return ``None`` if no sequence has visual tokens."""
    rows, columns = ids_BT.shape
    ids = ids_BT.flatten()
    token_K = (ids >= 0).nonzero()[:, 0]
    row_K = token_K // columns
    # Ids need only differ within a row; over the batch, a sequence is a pair of row and id.
    pair_K = row_K * (ids.amax() + 1) + ids[token_K]
    pairs, sequence_K = torch.unique(pair_K, return_inverse=True)

    is_visual_K = visual_BT.flatten()[token_K]
    visual_V, sequence_V = token_K[is_visual_K], sequence_K[is_visual_K]
    count = torch.bincount(sequence_V, minlength=len(pairs))
    with_visual = (count > 0).nonzero()[:, 0]
    if len(with_visual) == 0:
        return None

    if header_BT is None:
        sink = token_K.new_full((len(pairs),), rows * columns).scatter_reduce(0, sequence_K, token_K, "amin")
    else:
        begins_K = header_BT.flatten()[token_K]
        sink = token_K.new_full((len(pairs),), -1).scatter_reduce(0, sequence_K[begins_K], token_K[begins_K], "amax")
        if bool((sink[with_visual] < 0).any()):
            raise VicurError(
                "a sequence with visual tokens has no <|im_start|>, which sink 'assistant' of cue recovery needs.",
                where="input_ids",
                remedy="Build prompts with the chat template, or train a student with sink 'first'.",
            )

    # Tokens are in row order, so a stable sort keeps the visual tokens of a sequence in order.
    order = torch.argsort(sequence_V, stable=True)
    visual_V, sequence_V = visual_V[order], sequence_V[order]
    rank_V = torch.arange(len(visual_V), device=ids.device) - (count.cumsum(0) - count)[sequence_V]
    place_V = torch.searchsorted(with_visual, sequence_V)
    count_S = count[with_visual]
    valid_SN = torch.arange(int(count_S.max()), device=ids.device) < count_S[:, None]
    visual_SN = torch.zeros_like(valid_SN, dtype=torch.long).index_put((place_V, rank_V), visual_V)
    return CuePositions(sink[with_visual], torch.where(valid_SN, visual_SN, visual_SN[:, :1]), valid_SN)
