"""Attention of the sink over the visual tokens, mapped back onto the images, for reports.

Hooks read the weights and exist only while :func:`sink_attention` runs, so other forwards pay nothing.

Axes: B rows, N visual tokens of the longest row, K heads, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vicur.modeling.mrope import IMAGE, VIDEO
from vicur.modeling.positions import CuePositions
from vicur.modeling.student import Qwen3VLStudentForConditionalGeneration


@dataclass(frozen=True, eq=False)
class SinkAttentionMaps:
    """Attention of each row's sink over the row's visual tokens, on the CPU."""

    # By decoder layer, float32 [B, K, N]; sums to 1 over N, or is zero for a row without visual tokens.
    weights: dict[int, Tensor]
    valid_BN: Tensor  # true at visual tokens
    # Of each visual token, the index of its image or video in the row, its frame, row and column; -1 at padding.
    places_BN4: Tensor

    def images(self, row: int) -> list[Tensor]:
        """Return the attention over each image of a row, in order [L, K, frames, rows, columns]."""
        if not self.weights:
            return []
        weights_LKN = torch.stack([weights[row][:, self.valid_BN[row]] for weights in self.weights.values()])
        image_N, *place_N = self.places_BN4[row][self.valid_BN[row]].unbind(-1)
        maps = []
        for image in image_N.unique().tolist():
            chosen = image_N == image
            shape = [int(axis[chosen].max()) + 1 for axis in place_N]
            maps.append(weights_LKN[..., chosen].unflatten(-1, shape))
        return maps


@torch.no_grad()
def sink_attention(model: Qwen3VLStudentForConditionalGeneration, batch: Mapping[str, Any]) -> SinkAttentionMaps:
    """Record the attention of the sinks in one forward over ``batch``, its arguments, which must have one sequence per row."""
    rows, columns = batch["input_ids"].shape
    positions = model.model.cue_positions(**batch)
    if positions is None:
        valid_BN = torch.zeros(rows, 0, dtype=torch.bool)
        return SinkAttentionMaps({}, valid_BN, torch.zeros(rows, 0, 4, dtype=torch.long))
    row_S = (positions.sinks_S // columns).cpu()
    if len(row_S.unique()) < len(row_S):
        raise ValueError("attention maps need one sequence per row, but a row of this batch packs several")
    recorded: dict[int, Tensor] = {}
    hooks = [
        module.register_forward_hook(partial(_record_weights, recorded, layer))
        for layer, module in model.model.cue_recovery.attentions().items()
    ]
    try:
        model.model(**{**batch, "use_cache": False})
    finally:
        for hook in hooks:
            hook.remove()
    return SinkAttentionMaps(
        {layer: _by_row(weights_SKN, row_S, rows) for layer, weights_SKN in sorted(recorded.items())},
        _by_row(positions.valid_SN.cpu(), row_S, rows),
        _by_row(_places(model, batch, positions).cpu(), row_S, rows, fill=-1),
    )


def _record_weights(
    recorded: dict[int, Tensor], layer: int, _module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]
) -> None:
    recorded[layer] = output[1].float().cpu()


def _by_row(values_S: Tensor, row_S: Tensor, rows: int, fill: int = 0) -> Tensor:
    """Scatter values of sequences [S, ...] to the rows of the batch [B, ...]."""
    return values_S.new_full((rows, *values_S.shape[1:]), fill).index_copy(0, row_S, values_S)


def _places(model: Qwen3VLStudentForConditionalGeneration, batch: Mapping[str, Any], positions: CuePositions) -> Tensor:
    """Return image, frame, row and column of the visual tokens of each sequence [S, N, 4]; -1 at padding."""
    types = batch["mm_token_type_ids"].flatten()
    merge = model.model.visual.spatial_merge_size
    token_4 = torch.full((len(types), 4), -1, dtype=torch.long, device=types.device)
    for kind, name in ((IMAGE, "image_grid_thw"), (VIDEO, "video_grid_thw")):
        if batch.get(name) is not None:
            token_4[types == kind] = torch.cat([_grid_places(grid, merge) for grid in batch[name].tolist()]).to(
                types.device
            )
    places_SN4 = token_4[positions.visual_SN]
    # A token at frame, row and column 0 starts a new image or video.
    starts_SN = (places_SN4[..., 1:] == 0).all(-1) & positions.valid_SN
    places_SN4[..., 0] = starts_SN.cumsum(-1) - 1
    return places_SN4.masked_fill(~positions.valid_SN[..., None], -1)


def _grid_places(grid: list[int], merge: int) -> Tensor:
    """Return frame, row and column of each merged visual token of a grid of patches [tokens, 4]. Column 0 is filled in later."""
    frames, height, width = grid
    places = torch.cartesian_prod(torch.arange(frames), torch.arange(height // merge), torch.arange(width // merge))
    return torch.cat([torch.full((len(places), 1), -1), places], dim=1)
