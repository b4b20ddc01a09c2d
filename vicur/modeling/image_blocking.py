"""Image blocking, an experimental control: text tokens of the model cannot attend to visual tokens.

Only visual tokens then attend to visual tokens, so image content can reach a response only through a cue recovery module whose sink reads
it. With the module the model can answer, with the module off it must guess, which shows that the module is wired correctly. Models
without the option are not affected.

The option ``images_barred`` is part of the model's configuration: checkpoints contain it and ``load_model`` applies it.

Axes: B rows, Q tokens of a forward, T tokens in the cache and of the forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, Qwen3VLForConditionalGeneration
from transformers.masking_utils import create_causal_mask

from vicur.errors import VicurError
from vicur.modeling.cache_argument import cache_argument, cache_of

_OPTION = "images_barred"
_HISTORY = "visual_history_BT"


def blocks_images(config: PretrainedConfig) -> bool:
    """Return whether a model with this configuration blocks images."""
    return bool(getattr(config, _OPTION, False))


def block_images(model: Qwen3VLForConditionalGeneration) -> None:
    """Prevent all but visual tokens from attending to visual tokens, in this model and in checkpoints saved from it."""
    setattr(model.config, _OPTION, True)
    backbone = model.model.language_model
    if _block not in backbone._forward_pre_hooks.values():
        backbone.register_forward_pre_hook(_block, with_kwargs=True)


def visual_history(model: Qwen3VLForConditionalGeneration, types_BT: Tensor) -> dict[str, Tensor]:
    """Return the extra arguments of a forward that continues from a cache; empty for a model that does not block images.

    ``types_BT`` are the token types of all tokens in the cache and of the forward, 0 for text.
    """
    return {_HISTORY: types_BT != 0} if blocks_images(model.config) else {}


def _block(
    backbone: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Replace the padding mask by one that also blocks visual tokens. Hook before the text backbone."""
    history_BT = kwargs.pop(_HISTORY, None)
    visual_BT = kwargs.get("visual_pos_masks") if history_BT is None else history_BT
    # Under another name, the mask would be lost without a sign.
    cache = cache_of(kwargs, required=True)
    if visual_BT is None or visual_BT.shape[1] == 0:
        if cache is not None and int(cache.get_seq_length()) > 0:
            raise VicurError(
                "a model that blocks images needs to know which tokens in the cache are visual.",
                where=_HISTORY,
                remedy="Generate with vicur.modeling.generation, which passes this argument.",
            )
        return args, kwargs
    # With 4 rows, the first are text positions, from which transformers derives the boundaries of a pack.
    embedded_BQH, positions = kwargs["inputs_embeds"], kwargs.get("position_ids")
    packed = positions is not None and positions.ndim == 3 and positions.shape[0] == 4
    mask_B1QT = create_causal_mask(
        config=backbone.config,  # type: ignore[arg-type]
        inputs_embeds=embedded_BQH,
        attention_mask=kwargs.get("attention_mask"),
        **cache_argument(cache),
        position_ids=positions[0] if packed else None,  # type: ignore[index]
        allow_is_causal_skip=False,
    )
    if not isinstance(mask_B1QT, Tensor) or mask_B1QT.ndim != 4:
        raise VicurError(
            f"{getattr(backbone.config, '_attn_implementation', None)} attention does not support a mask that blocks images.",
            where="attn_implementation",
            remedy="Load the model with sdpa or eager attention.",
        )
    blocked_B1QT = visual_BT[:, None, None, :] & ~visual_BT[:, None, -embedded_BQH.shape[1] :, None]
    return args, {**kwargs, "attention_mask": _without(mask_B1QT, blocked_B1QT)}


def _without(mask_B1QT: Tensor, blocked_B1QT: Tensor) -> Tensor:
    """Remove pairs of query and key from a boolean or additive mask."""
    if mask_B1QT.dtype == torch.bool:
        return mask_B1QT & ~blocked_B1QT
    return mask_B1QT.masked_fill(blocked_B1QT, torch.finfo(mask_B1QT.dtype).min)
