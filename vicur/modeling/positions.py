"""Where cue recovery reads and writes: the sink token and the visual tokens of each sequence.

Nothing here looks for a pattern in the text. Which tokens are visual comes from the token types, which of them belong together from
the attention mask or from the boundaries of a pack. Left, right and no padding, a batch and a pack give the same answer.

Axes: B rows, T columns, S sequences that hold visual tokens, N visual tokens of the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.masking_utils import find_packed_sequence_indices

from vicur.errors import VicurError

PADDING = -1
"""Sequence id of a token that belongs to no sequence."""


@dataclass(frozen=True, eq=False)
class CuePositions:
    """Positions in a batch that is flattened to B * T tokens. Sequences without visual tokens are not listed.

    Attributes:
        sinks_S: the sink token of each sequence [S].
        visual_SN: its visual tokens in order, filled up with the first of them [S, N].
        valid_SN: false where ``visual_SN`` is filled up [S, N].
    """

    sinks_S: Tensor
    visual_SN: Tensor
    valid_SN: Tensor


def find_sequences(
    shape: tuple[int, int],
    device: torch.device,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    boundaries: Tensor | None = None,
) -> Tensor:
    """Which tokens share a sequence, read from what tells attention the same.

    Args:
        shape: rows B and columns T of the batch.
        device: where to put the result.
        attention_mask: 1 at tokens and 0 at padding [B, T], or the whole mask of a causal attention, boolean or additive
            [B, 1, T, >= T], in which a sequence begins at the first token that its tokens attend to.
        position_ids: positions of the text [B, T], or with them in front of the three of M-RoPE [4, B, T]. A row without a mask is
            a pack where they do not count up by one, which is transformers' rule. The three of M-RoPE alone [3, B, T] tell nothing.
        boundaries: offsets of the sequences of a one-row pack, from 0 to T [sequences + 1] (``cu_seq_lens_q`` of flash attention).

    Returns:
        Ids [B, T]: equal within a sequence, different between the sequences of a row, ``PADDING`` at padding.

    Raises:
        VicurError: where the mask is of another kind.
    """
    rows, columns = shape
    if boundaries is not None:
        places_T = torch.arange(columns, device=device)
        return torch.bucketize(places_T, boundaries.to(device)[1:], right=True).expand(rows, columns)
    if attention_mask is not None:
        if not isinstance(attention_mask, Tensor) or attention_mask.ndim not in (2, 4):
            raise VicurError(
                "cue recovery cannot read the sequences from this attention mask.",
                where="attention_mask",
                remedy="Pass sequence_ids, or a mask with 2 or 4 dimensions.",
            )
        mask = attention_mask.to(device)
        return _from_full_mask(mask, columns) if mask.ndim == 4 else torch.where(mask.bool(), 0, PADDING)
    if position_ids is not None and (position_ids.ndim == 2 or position_ids.shape[0] == 4):
        text_BT = position_ids if position_ids.ndim == 2 else position_ids[0]
        packed_BT = find_packed_sequence_indices(text_BT.to(device).expand(rows, columns))
        if packed_BT is not None:
            return packed_BT
    return torch.zeros(shape, dtype=torch.long, device=device)


def _from_full_mask(mask: Tensor, columns: int) -> Tensor:
    """Ids [B, T] from a mask over queries and keys: where the first attended key is the same, so is the sequence."""
    allowed_BTT = mask[:, 0, :, :columns]
    if allowed_BTT.dtype != torch.bool:
        allowed_BTT = allowed_BTT > torch.finfo(allowed_BTT.dtype).min / 2
    start_BT = allowed_BTT.int().argmax(-1)
    is_token_BT = allowed_BTT.diagonal(dim1=-2, dim2=-1)
    return torch.where(is_token_BT, start_BT, PADDING)


def locate(ids_BT: Tensor, visual_BT: Tensor, header_BT: Tensor | None = None) -> CuePositions | None:
    """Finds sinks and visual tokens of all sequences at once.

    Args:
        ids_BT: sequence ids, as from :func:`find_sequences` [B, T].
        visual_BT: true at visual tokens [B, T].
        header_BT: true where a turn begins [B, T]: the last such token of a sequence is its sink. Left out: its first token is.

    Returns:
        The positions, or ``None`` where no sequence holds a visual token.

    Raises:
        VicurError: where a sequence with visual tokens holds no turn.
    """
    rows, columns = ids_BT.shape
    ids = ids_BT.flatten()
    token_K = (ids >= 0).nonzero()[:, 0]
    row_K = token_K // columns
    # Ids need only differ within a row; over the batch, a sequence is a pair of row and id.
    pair_K = row_K * (ids.amax() + 1) + ids[token_K]
    pairs, sequence_K = torch.unique(pair_K, return_inverse=True)

    seen_K = visual_BT.flatten()[token_K]
    visual_V, sequence_V = token_K[seen_K], sequence_K[seen_K]
    count = torch.bincount(sequence_V, minlength=len(pairs))
    held = (count > 0).nonzero()[:, 0]
    if len(held) == 0:
        return None

    if header_BT is None:
        sink = token_K.new_full((len(pairs),), rows * columns).scatter_reduce(0, sequence_K, token_K, "amin")
    else:
        begins_K = header_BT.flatten()[token_K]
        sink = token_K.new_full((len(pairs),), -1).scatter_reduce(0, sequence_K[begins_K], token_K[begins_K], "amax")
        if bool((sink[held] < 0).any()):
            raise VicurError(
                "a sequence with visual tokens holds no <|im_start|>, where the sink of cue recovery would be.",
                where="input_ids",
                remedy="Build prompts with the chat template, or train a student with sink 'first'.",
            )

    # Tokens are in row order, so a stable sort keeps the visual tokens of a sequence in order.
    order = torch.argsort(sequence_V, stable=True)
    visual_V, sequence_V = visual_V[order], sequence_V[order]
    rank_V = torch.arange(len(visual_V), device=ids.device) - (count.cumsum(0) - count)[sequence_V]
    place_V = torch.searchsorted(held, sequence_V)
    count_S = count[held]
    valid_SN = torch.arange(int(count_S.max()), device=ids.device) < count_S[:, None]
    visual_SN = torch.zeros_like(valid_SN, dtype=torch.long).index_put((place_V, rank_V), visual_V)
    return CuePositions(sink[held], torch.where(valid_SN, visual_SN, visual_SN[:, :1]), valid_SN)
