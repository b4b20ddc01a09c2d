"""Checks of base and teacher against each other and the settings, from their configuration files, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import Qwen3VLConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig

from vicur.config.trained import Lora
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import Qwen3VLStudentConfig, read_config
from vicur.modeling.chat import Chat
from vicur.wording import listed

# Settings that determine what a patch contains.
_PATCHES = ("patch_size", "temporal_patch_size", "spatial_merge_size", "in_channels")
_PIXELS = ("image_mean", "image_std", "rescale_factor")


def require_fit(config: TrainConfig, inputs: Mapping[str, Path], chat: Chat) -> None:
    """Raise a ``VicurError`` if base and teacher do not fit each other and the settings."""
    base = read_config(inputs["base"])
    _require_same_module(base, inputs["base"], config)
    if isinstance(config.trained, Lora):
        _require_low_rank(base, config.trained, config)
    if config.effective.teacher.type == "checkpoint":
        _require_same_input(inputs["teacher"], base, chat, config)


def _require_same_module(base: Qwen3VLConfig, folder: Path, config: TrainConfig) -> None:
    # A base's cue recovery module must be trained further: a new one would discard its weights.
    if not isinstance(base, Qwen3VLStudentConfig):
        return
    present = base.recovery_settings
    if not config.effective.recovery or config.recovery.module != present:
        raise VicurError(
            "the base has a cue recovery module that the settings of this training would discard or change.",
            where=f"{folder}, method {config.method}",
            remedy=f"Set training.recovery to {{enabled: true, interval: {present.interval}, sink: {present.sink}}}, as in the base, "
            "or start from a base without the module.",
        )


def _require_low_rank(base: Qwen3VLConfig, lora: Lora, config: TrainConfig) -> None:
    text, vision = _text(base), base.vision_config
    assert isinstance(vision, Qwen3VLVisionConfig)
    sides = {
        "text hidden size": text.hidden_size,
        "text intermediate size": text.intermediate_size,
        "query width": text.num_attention_heads * text.head_dim,
        "key width": (text.num_key_value_heads or text.num_attention_heads) * text.head_dim,
    }
    if lora.vision:
        sides |= {"vision hidden size": vision.hidden_size, "vision intermediate size": vision.intermediate_size}
    name, smallest = min(sides.items(), key=lambda side: side[1])
    if lora.rank >= smallest:
        raise VicurError(
            f"the rank is {lora.rank}, but it must be below the smallest side of a projection: the {name} of the base is {smallest}.",
            where=f"training.trained.rank, method {config.method}",
            remedy="Lower the rank, or set training.trained.type to full.",
        )


def _require_same_input(folder: Path, base: Qwen3VLConfig, chat: Chat, config: TrainConfig) -> None:
    # The teacher reads the student's token ids and patches, so they must mean the same to it.
    other, other_chat = read_config(folder), Chat.load(folder)
    own, others = chat.tokenizer.get_vocab(), other_chat.tokenizer.get_vocab()
    differing = sorted(token for token in own.keys() | others.keys() if own.get(token) != others.get(token))
    where = f"{folder}, teacher of method {config.method}"
    if differing:
        raise VicurError(
            f"the teacher's vocabulary differs from the student's in {len(differing)} tokens "
            f"({listed(map(repr, differing), shown=3)}).",
            where=where,
            remedy="Choose a teacher of the student's model family: it scores the student's own tokens.",
        )
    rows = (_text(base).vocab_size, _text(other).vocab_size)
    if rows[0] != rows[1]:
        raise VicurError(
            f"the teacher's output layer has {rows[1]} rows, but the student's has {rows[0]}.",
            where=where,
            remedy="Choose a teacher with the same vocab_size, or resize one of the two.",
        )
    pairs = {name: (getattr(base.vision_config, name), getattr(other.vision_config, name)) for name in _PATCHES}
    processors = (chat.image_processor, other_chat.image_processor)
    pairs |= {name: (getattr(processors[0], name), getattr(processors[1], name)) for name in _PIXELS}
    unlike = [f"{name} {theirs} instead of {mine}" for name, (mine, theirs) in pairs.items() if mine != theirs]
    if unlike:
        raise VicurError(
            f"the teacher reads other image patches than the student: {', '.join(unlike)}.",
            where=where,
            remedy="Choose a teacher with the same patches.",
        )


def _text(config: Qwen3VLConfig) -> Qwen3VLTextConfig:
    # transformers types it as any configuration.
    text = config.text_config
    assert isinstance(text, Qwen3VLTextConfig)
    return text
