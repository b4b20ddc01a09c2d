"""Count parameters by part on the model itself, built on the meta device so that weights take no memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.modeling import Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration


@dataclass(frozen=True)
class Sizes:
    """Parameters of a model by part. Tied parameters count once."""

    embedding: int  # input embeddings, and the output layer if it is tied
    head: int  # output layer; 0 if it is tied
    text_layer: int  # one decoder layer
    text_layers: int  # number of decoder layers
    text_linear: int  # linear layers of one decoder layer
    lora_rank_1: int  # LoRA adapters of rank 1 on all linear layers of the decoder
    vision_lora_rank_1: int  # the same for the vision tower
    vision: int  # vision tower
    vision_block: int  # one block of the vision tower
    vision_blocks: int  # number of blocks
    recovery: int  # cue recovery, including norms
    total: int

    @property
    def largest_layer(self) -> int:
        """Parameters of the largest unit that FSDP gathers besides the root."""
        return max(self.text_layer, self.vision_block)

    @property
    def root(self) -> int:
        """Parameters outside of layers: embeddings, output layer, last norm, patch embedding and mergers. FSDP gathers them as one unit."""
        return self.total - self.text_layers * self.text_layer - self.vision_blocks * self.vision_block - self.recovery


def model_sizes(config: Qwen3VLConfig, recovery: CueRecoverySettings | None) -> Sizes:
    """Count the parameters of a backbone, with cue recovery if it is configured."""
    with torch.device("meta"):
        model = _model(config, recovery)
    layers = model.model.language_model.layers
    tower = model.model.visual
    linear = _linear(layers[0])
    module = model.model.cue_recovery if recovery is not None else nn.Module()
    embedding, head = model.model.language_model.embed_tokens, model.lm_head
    return Sizes(
        embedding=_count(embedding),
        head=0 if head.weight is embedding.weight else _count(head),
        text_layer=_count(layers[0]),
        text_layers=len(layers),
        text_linear=sum(_count(m) for m in linear),
        lora_rank_1=len(layers) * _rank_1(linear),
        vision_lora_rank_1=_rank_1(_linear(tower)),
        vision=_count(tower),
        vision_block=_count(tower.blocks[0]),
        vision_blocks=len(tower.blocks),
        recovery=_count(module),
        total=_count(model),
    )


def published_recovery_parameters(config: Qwen3VLConfig, interval: int) -> int:
    """Return the parameters of cue recovery as the paper counts them (arXiv 2606.05718): four H x H projections at every ``interval``-th
    layer from layer 0, including the last decoder layer, without norms. 100.7 M for 2B and 536.9 M for 8B at interval 5."""
    text = config.get_text_config()
    return len(range(0, text.num_hidden_layers, interval)) * 4 * int(text.hidden_size) ** 2


def _model(config: Qwen3VLConfig, recovery: CueRecoverySettings | None) -> Qwen3VLForConditionalGeneration:
    if recovery is None:
        return Qwen3VLForConditionalGeneration(config)
    fields = config.to_dict()
    fields.pop("model_type")
    # The sink position does not affect sizes, and "assistant" would require a token id.
    settings = recovery.model_copy(update={"sink": "first"})
    student: Qwen3VLForConditionalGeneration = Qwen3VLStudentForConditionalGeneration(
        Qwen3VLStudentConfig.from_dict({**fields, "cue_recovery": settings.model_dump()})
    )
    return student


def _linear(module: nn.Module) -> list[nn.Linear]:
    return [m for m in module.modules() if isinstance(m, nn.Linear)]


def _rank_1(layers: list[nn.Linear]) -> int:
    return sum(m.in_features + m.out_features for m in layers)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
