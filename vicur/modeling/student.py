"""The student: Qwen3-VL with cue recovery between its decoder layers.

Subclasses transformers' model without copying its code. The input of decoder layer l + 1 is the state after layer l and its deepstack
addition, so a forward pre-hook on each layer applies cue recovery. The positions of a forward reach the hooks in the layers' keyword
arguments, bound to the module: no state outlives a forward, and several forwards may precede a backward. The hooks run outside gradient
checkpointing, as hooks do in transformers, so a recomputed layer gets the same input.

Cue recovery takes part in prefill only: in a forward without a cache or with an empty one, which must contain the whole prompt. A later
forward with more of the prompt (an image; with sink ``assistant``, a new turn) is rejected, because the sink is in the cache by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers import initialization as init
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel, Qwen3VLTextModel

from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling.cache_argument import cache_of
from vicur.modeling.mrope import IMAGE, VIDEO
from vicur.modeling.positions import PADDING, CuePositions, find_sequences, locate
from vicur.modeling.recovery import CueRecovery, SinkAttention

_RECOVER = "recover_cues"


class Qwen3VLStudentConfig(Qwen3VLConfig):
    """Configuration of a student with cue recovery. Without it, a student has a plain ``Qwen3VLConfig``."""

    model_type = "qwen3_vl_cue_recovery"

    cue_recovery: dict[str, Any] | None = None  # fields of CueRecoverySettings; the defaults if None
    im_start_token_id: int | None = None  # id of <|im_start|>, required for sink "assistant"

    def __post_init__(self, **kwargs: Any) -> None:
        self.cue_recovery = CueRecoverySettings.model_validate(self.cue_recovery or {}).model_dump()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @property
    def recovery_settings(self) -> CueRecoverySettings:
        """Typed ``cue_recovery``."""
        return CueRecoverySettings.model_validate(self.cue_recovery)


class Qwen3VLStudentModel(Qwen3VLModel):
    """Vision tower and text backbone, with cue recovery between the layers of the backbone."""

    config: Qwen3VLStudentConfig
    config_class = Qwen3VLStudentConfig
    _no_split_modules = [*Qwen3VLModel._no_split_modules, "SinkAttention"]  # noqa: RUF012 (as transformers has it)
    # The positions of sinks and visual tokens depend on the data.
    _can_compile_fullgraph = False

    def __init__(self, config: Qwen3VLStudentConfig) -> None:
        super().__init__(config)
        self.recovery_enabled = True
        self.cue_recovery = build_cue_recovery(config)
        register_recovery_hooks(self.language_model)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, SinkAttention):
            std = self.config.get_text_config().initializer_range
            init.normal_(module.key_weight, std=std)
            init.normal_(module.value_weight, std=std)
            # A new module adds exactly nothing, so the student starts equal to its backbone.
            init.zeros_(module.o_proj.weight)

    def get_image_features(self, pixel_values: Tensor, image_grid_thw: Tensor | None = None, **kwargs: Any) -> Any:
        """See transformers."""
        # transformers passes all keyword arguments to the vision tower, but this one is for the decoder layers.
        kwargs.pop(_RECOVER, None)
        return super().get_image_features(pixel_values, image_grid_thw, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the model like transformers' forward, with the additional argument ``sequence_ids``.

        These are the ids of the sequences of a pack, -1 at padding [B, T]. They are required only if neither the attention mask, nor the
        text positions, nor ``cu_seq_lens_q`` determine the sequences. They do not mask attention.
        """
        shared: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
            "mm_token_type_ids": mm_token_type_ids,
        }
        positions = self.cue_positions(sequence_ids=sequence_ids, **shared, **kwargs)
        if positions is not None:
            kwargs[_RECOVER] = partial(self.cue_recovery, positions)
        return super().forward(**shared, **kwargs)

    def cue_positions(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> CuePositions | None:
        """Return the sinks and visual tokens of a forward with these arguments, or ``None`` if cue recovery takes no part in it.

        Raises:
            VicurError: if the forward continues a prompt that is partly in the cache.
        """
        if not self.recovery_enabled:
            return None
        features = _has_features(kwargs)
        headers_BT = self._headers(input_ids)
        cache = cache_of(kwargs)
        if cache is not None and int(cache.get_seq_length()) > 0:
            continued = headers_BT is not None and headers_BT.shape[1] > 1 and bool(headers_BT.any())
            if features or continued:
                raise _late_prompt()
            return None
        visual_BT = self._visual(input_ids, mm_token_type_ids, features)
        if visual_BT is None:
            return None
        if input_ids is not None and visual_BT.shape[1] > input_ids.shape[1]:
            # With chunked prefill, transformers before 5.20 passes the token types of the whole prompt with the first chunk.
            raise _late_prompt()
        if self.config.recovery_settings.sink == "assistant" and headers_BT is None:
            raise _missing("input_ids")
        if sequence_ids is None:
            rows, columns = visual_BT.shape
            sequence_ids = find_sequences(
                (rows, columns), visual_BT.device, attention_mask, position_ids, kwargs.get("cu_seq_lens_q")
            )
        return locate(sequence_ids, visual_BT & (sequence_ids != PADDING), headers_BT)

    def _headers(self, input_ids: Tensor | None) -> Tensor | None:
        """Mark the start of each turn [B, T], or return ``None`` if the sink does not need it or ids are unknown."""
        start = self.config.im_start_token_id
        if self.config.recovery_settings.sink == "first" or input_ids is None or start is None:
            return None
        return torch.eq(input_ids, start)

    def _visual(self, input_ids: Tensor | None, types_BT: Tensor | None, features: bool) -> Tensor | None:
        """Mark image and video tokens [B, T], or return ``None`` if there are none."""
        # Without token types, find them by id, as transformers does to insert features.
        if types_BT is not None:
            return torch.isin(types_BT, types_BT.new_tensor([IMAGE, VIDEO]))
        if not features:
            return None
        if input_ids is None:
            raise _missing("mm_token_type_ids")
        return torch.isin(input_ids, input_ids.new_tensor([self.config.image_token_id, self.config.video_token_id]))


class Qwen3VLStudentForConditionalGeneration(Qwen3VLForConditionalGeneration):
    """The student with its output layer: the model that is trained, saved and generated with."""

    config: Qwen3VLStudentConfig
    config_class = Qwen3VLStudentConfig
    _can_compile_fullgraph = False

    def __init__(self, config: Qwen3VLStudentConfig) -> None:
        # Skip the parent's constructor, which would build a plain backbone first.
        super(Qwen3VLForConditionalGeneration, self).__init__(config)
        self.model = Qwen3VLStudentModel(config)
        text = config.get_text_config()
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]


@contextmanager
def cue_recovery_off(model: Qwen3VLForConditionalGeneration) -> Iterator[None]:
    """Disable cue recovery, so that a student computes the same as its backbone. No effect on a model without the module."""
    inner = model.model
    if not isinstance(inner, Qwen3VLStudentModel):
        yield
        return
    before, inner.recovery_enabled = inner.recovery_enabled, False
    try:
        yield
    finally:
        inner.recovery_enabled = before


def build_cue_recovery(config: Qwen3VLStudentConfig) -> CueRecovery:
    """Build the module of a student with this configuration, with uninitialised weights."""
    text, settings = config.get_text_config(), config.recovery_settings
    heads = settings.num_heads or text.num_attention_heads
    layers = settings.layers(text.num_hidden_layers)
    if text.hidden_size % heads:
        raise VicurError(
            f"{heads} heads do not divide the hidden size {text.hidden_size}.",
            where="cue_recovery.num_heads",
            remedy=f"Choose a divisor of {text.hidden_size}.",
        )
    if not layers:
        raise VicurError(
            "cue recovery needs a backbone with at least 2 decoder layers, but this one has 1.",
            where="cue_recovery",
            remedy="Use a backbone with more layers.",
        )
    if settings.sink == "assistant" and config.im_start_token_id is None:
        raise VicurError(
            "sink 'assistant' needs the id of <|im_start|>.",
            where="im_start_token_id",
            remedy="Set it in the model's config.json to the tokenizer's id of this token.",
        )
    return CueRecovery(text.hidden_size, heads, text.rms_norm_eps, layers)


def register_recovery_hooks(backbone: Qwen3VLTextModel) -> None:
    """Let a text backbone apply cue recovery between its decoder layers. Its forward then accepts the argument ``recover_cues``."""
    for layer in backbone.layers:
        layer.register_forward_pre_hook(_recover_before, with_kwargs=True)


def _recover_before(
    layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Apply cue recovery after the previous layer. Hook before a decoder layer, which does not accept the argument itself."""
    recover = kwargs.pop(_RECOVER, None)
    if recover is not None:
        hidden_BTH, *rest = args
        args = (recover(layer.self_attn.layer_idx - 1, hidden_BTH), *rest)
    return args, kwargs


def _has_features(kwargs: dict[str, Any]) -> bool:
    """Return whether a forward with these arguments contains pixels or features of images or videos."""
    encoded = kwargs.get("mm_encoder_outputs") or {}
    return any(
        value is not None
        for value in (kwargs.get("pixel_values"), kwargs.get("pixel_values_videos"), *encoded.values())
    )


def _missing(argument: str) -> VicurError:
    return VicurError(
        f"cue recovery cannot determine its positions without {argument}.",
        where=argument,
        remedy=f"Pass {argument} to the forward.",
    )


def _late_prompt() -> VicurError:
    return VicurError(
        "cue recovery needs the whole prompt in one forward, but the cache already contains a part of it.",
        where="cache",
        remedy="Prefill the prompt at once, without chunked prefill (prefill_chunk_size), a cached prefix or a new turn on an old cache.",
    )
