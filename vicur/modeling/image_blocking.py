"""Barring, an experimental option of a model for one control: its text cannot attend to its images.

A visual token is then seen by visual tokens alone. What is in an image can reach a response in one way only, through a cue recovery
module whose sink reads it: with the module the model can answer, with the module off it must guess. That tells whether the module is
wired right. A model that is not barred is not touched by anything here.

The option stands in the model's configuration (``images_barred``), so a checkpoint keeps it, and ``load_model`` applies it.

Axes: B rows, Q tokens of a forward, T tokens in the cache and of the forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, Qwen3VLForConditionalGeneration
from transformers.masking_utils import create_causal_mask

from vicur.errors import VicurError

_OPTION = "images_barred"
_HISTORY = "visual_history_BT"


def is_barred(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration is barred."""
    return bool(getattr(config, _OPTION, False))


def bar_images(model: Qwen3VLForConditionalGeneration) -> None:
    """Bars all tokens but visual ones from attending to visual tokens, from here on and in what is saved of ``model``."""
    setattr(model.config, _OPTION, True)
    backbone = model.model.language_model
    if _bar not in backbone._forward_pre_hooks.values():
        backbone.register_forward_pre_hook(_bar, with_kwargs=True)


def visual_history(model: Qwen3VLForConditionalGeneration, types_BT: Tensor) -> dict[str, Tensor]:
    """What a forward that goes on from a cache must be given beside its usual arguments; nothing for a model that is not barred.

    Args:
        model: any model.
        types_BT: token types of all that is in the cache and of the forward's own tokens, 0 for text.
    """
    return {_HISTORY: types_BT != 0} if is_barred(model.config) else {}


def _bar(backbone: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hook before the text backbone: puts a mask that bars in place of the padding mask.

    Raises:
        VicurError: where the cache holds tokens and nothing tells which are visual, and for attention without a mask.
    """
    history_BT = kwargs.pop(_HISTORY, None)
    visual_BT = kwargs.get("visual_pos_masks") if history_BT is None else history_BT
    cache = kwargs.get("past_key_values")
    if visual_BT is None or visual_BT.shape[1] == 0:
        if cache is not None and int(cache.get_seq_length()) > 0:
            raise VicurError(
                "a barred model that goes on from a cache must know which tokens in it are visual.",
                where=_HISTORY,
                remedy="Generate with vicur.modeling.generation, which tells it.",
            )
        return args, kwargs
    embedded_BQH, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
    packed = positions is not None and positions.ndim == 3 and positions.shape[0] == 4
    mask_B1QT = create_causal_mask(
        config=backbone.config,  # type: ignore[arg-type]
        inputs_embeds=embedded_BQH,
        attention_mask=kwargs.get("attention_mask"),
        past_key_values=cache,
        position_ids=positions[0] if packed else None,  # type: ignore[index]
        allow_is_causal_skip=False,
    )
    if not isinstance(mask_B1QT, Tensor) or mask_B1QT.ndim != 4:
        raise VicurError(
            "this attention takes no mask that bars images.",
            where="attn_implementation",
            remedy="Load a barred model with sdpa or eager attention.",
        )
    barred_B1QT = visual_BT[:, None, None, :] & ~visual_BT[:, None, -embedded_BQH.shape[1] :, None]
    return args, {**kwargs, "attention_mask": _without(mask_B1QT, barred_B1QT)}


def _without(mask_B1QT: Tensor, barred_B1QT: Tensor) -> Tensor:
    """A mask with some pairs taken out of it: true where attended, or 0 there and a large negative number elsewhere."""
    if mask_B1QT.dtype == torch.bool:
        return mask_B1QT & ~barred_B1QT
    return mask_B1QT.masked_fill(barred_B1QT, torch.finfo(mask_B1QT.dtype).min)
