"""The student: Qwen3-VL with cue recovery between its decoder layers.

transformers' model is subclassed and none of its code is copied. The input of decoder layer l + 1 is the state after layer l and its
deepstack addition, so a hook before each layer is the place where cue recovery acts. The positions of one forward travel to the hooks
in the layers' keyword arguments, bound to the module: no state outlives a forward, and several may be under way before a backward.
The hooks run outside gradient checkpointing, as hooks do in transformers, so a layer that is computed again finds its input there.

Cue recovery takes part in prefill alone: in a forward without a cache or with an empty one. The whole prompt must be in it. A later
forward that brings more of the prompt (an image; with sink ``assistant``, a new turn) is refused, since the sink is in the cache by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers import initialization as init
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel, Qwen3VLTextModel

from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling.positions import PADDING, CuePositions, find_sequences, locate
from vicur.modeling.recovery import CueRecovery, SinkAttention

_RECOVER = "recover_cues"
# transformers' token types; 0 is text.
IMAGE, VIDEO = 1, 2


class Qwen3VLStudentConfig(Qwen3VLConfig):
    """Configuration of a student with cue recovery; one without is a plain ``Qwen3VLConfig``.

    Args:
        cue_recovery: fields of :class:`~vicur.config.recovery.CueRecoverySettings`; left out, the defaults.
        im_start_token_id: id of ``<|im_start|>``; needed for sink ``assistant``.
    """

    model_type = "qwen3_vl_cue_recovery"

    cue_recovery: dict[str, Any] | None = None
    im_start_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.cue_recovery = CueRecoverySettings.model_validate(self.cue_recovery or {}).model_dump()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @property
    def recovery_settings(self) -> CueRecoverySettings:
        """``cue_recovery``, typed."""
        return CueRecoverySettings.model_validate(self.cue_recovery)


class Qwen3VLStudentModel(Qwen3VLModel):
    """Vision tower and text backbone, with cue recovery in between the layers of the latter."""

    config: Qwen3VLStudentConfig
    config_class = Qwen3VLStudentConfig
    _no_split_modules = [*Qwen3VLModel._no_split_modules, "SinkAttention"]  # noqa: RUF012 (as transformers has it)
    # Where sinks and visual tokens are depends on the data.
    _can_compile_fullgraph = False

    def __init__(self, config: Qwen3VLStudentConfig) -> None:
        super().__init__(config)
        self.recovers = True
        self.cue_recovery = cue_recovery_of(config)
        recover_between(self.language_model)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, SinkAttention):
            std = self.config.get_text_config().initializer_range
            init.normal_(module.key_weight, std=std)
            init.normal_(module.value_weight, std=std)
            # What a new module adds is exactly nothing: the student starts as its backbone.
            init.zeros_(module.o_proj.weight)

    def get_image_features(self, pixel_values: Tensor, image_grid_thw: Tensor | None = None, **kwargs: Any) -> Any:
        """As transformers has it; what is meant for the decoder layers stays out of the vision tower."""
        kwargs.pop(_RECOVER, None)
        return super().get_image_features(pixel_values, image_grid_thw, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As transformers has it, with one argument more.

        Args:
            sequence_ids: which tokens of a pack share a sequence, -1 at padding [B, T]; needed only where neither the attention mask
                nor the text's positions nor ``cu_seq_lens_q`` tell. It does not mask attention.
        """
        shared: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            "past_key_values": past_key_values,
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
        past_key_values: Cache | None = None,
        mm_token_type_ids: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> CuePositions | None:
        """Sinks and visual tokens of a forward with these arguments, or ``None`` where cue recovery takes no part in it.

        Raises:
            VicurError: where the forward continues a prompt whose beginning is in the cache.
        """
        if not self.recovers:
            return None
        features = _has_features(kwargs)
        headers_BT = self._headers(input_ids)
        if past_key_values is not None and int(past_key_values.get_seq_length()) > 0:
            continued = headers_BT is not None and headers_BT.shape[1] > 1 and bool(headers_BT.any())
            if features or continued:
                raise _late_prompt()
            return None
        visual_BT = self._visual(input_ids, mm_token_type_ids, features)
        if visual_BT is None:
            return None
        if input_ids is not None and visual_BT.shape[1] > input_ids.shape[1]:
            # transformers before 5.20 hands the token types of the whole prompt to the first of its chunks.
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
        """True where a turn begins [B, T], with sink ``assistant`` and known ids."""
        start = self.config.im_start_token_id
        if self.config.recovery_settings.sink == "first" or input_ids is None or start is None:
            return None
        return torch.eq(input_ids, start)

    def _visual(self, input_ids: Tensor | None, types_BT: Tensor | None, features: bool) -> Tensor | None:
        """True at image and video tokens [B, T], or ``None`` where there are none: by type, else where transformers puts features."""
        if types_BT is not None:
            return torch.isin(types_BT, types_BT.new_tensor([IMAGE, VIDEO]))
        if not features:
            return None
        if input_ids is None:
            raise _missing("mm_token_type_ids")
        return torch.isin(input_ids, input_ids.new_tensor([self.config.image_token_id, self.config.video_token_id]))


class Qwen3VLStudentForConditionalGeneration(Qwen3VLForConditionalGeneration):
    """The student with its output layer: what is trained, saved and generated with."""

    config: Qwen3VLStudentConfig
    config_class = Qwen3VLStudentConfig
    _can_compile_fullgraph = False

    def __init__(self, config: Qwen3VLStudentConfig) -> None:
        # Past the parent, which would build a backbone of its own first.
        super(Qwen3VLForConditionalGeneration, self).__init__(config)
        self.model = Qwen3VLStudentModel(config)
        text = config.get_text_config()
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]


@contextmanager
def cue_recovery_off(model: Qwen3VLForConditionalGeneration) -> Iterator[None]:
    """Inside, a student computes what its backbone computes. A model without the module computes that anyway."""
    inner = model.model
    if not isinstance(inner, Qwen3VLStudentModel):
        yield
        return
    before, inner.recovers = inner.recovers, False
    try:
        yield
    finally:
        inner.recovers = before


def cue_recovery_of(config: Qwen3VLStudentConfig) -> CueRecovery:
    """The module of a student of this configuration, its weights not initialised.

    Raises:
        VicurError: where the settings do not fit the backbone.
    """
    text, settings = config.get_text_config(), config.recovery_settings
    heads = settings.num_heads or text.num_attention_heads
    layers = settings.layers(text.num_hidden_layers)
    if text.hidden_size % heads:
        raise VicurError(
            f"{heads} heads do not divide the hidden size {text.hidden_size}.",
            where="cue_recovery.num_heads",
            remedy="Choose a divisor.",
        )
    if not layers:
        raise VicurError(
            "a single decoder layer leaves no place for cue recovery.",
            where="cue_recovery",
            remedy="Use a backbone with more layers.",
        )
    if settings.sink == "assistant" and config.im_start_token_id is None:
        raise VicurError(
            "sink 'assistant' needs the id of <|im_start|>.",
            where="im_start_token_id",
            remedy="Set it in the model's configuration, from the tokenizer.",
        )
    return CueRecovery(text.hidden_size, heads, text.rms_norm_eps, layers)


def recover_between(backbone: Qwen3VLTextModel) -> None:
    """Lets cue recovery act between the decoder layers of a text backbone: a forward takes it as its argument ``recover_cues``."""
    for layer in backbone.layers:
        layer.register_forward_pre_hook(_recover_before, with_kwargs=True)


def _recover_before(
    layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hook before a decoder layer: applies what follows the layer before it, and takes the argument out of the layer's sight."""
    recover = kwargs.pop(_RECOVER, None)
    if recover is not None:
        hidden_BTH, *rest = args
        args = (recover(layer.self_attn.layer_idx - 1, hidden_BTH), *rest)
    return args, kwargs


def _has_features(kwargs: dict[str, Any]) -> bool:
    """Whether a forward with these arguments brings pixels or features of images or videos."""
    encoded = kwargs.get("mm_encoder_outputs") or {}
    return any(
        value is not None
        for value in (kwargs.get("pixel_values"), kwargs.get("pixel_values_videos"), *encoded.values())
    )


def _missing(argument: str) -> VicurError:
    return VicurError(
        f"cue recovery cannot find its positions without {argument}.",
        where=argument,
        remedy=f"Pass {argument} to the forward.",
    )


def _late_prompt() -> VicurError:
    return VicurError(
        "cue recovery needs the whole prompt in one forward, but the cache holds a part of it already.",
        where="past_key_values",
        remedy="Prefill the prompt at once: no chunked prefill (prefill_chunk_size), no cached prefix, no new turn on an old cache.",
    )
