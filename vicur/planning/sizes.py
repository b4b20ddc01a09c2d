"""Numbers of parameters by part, counted on the model itself: it is built on the meta device, where weights take no memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.modeling import Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration


@dataclass(frozen=True)
class Sizes:
    """Parameters of a model by part; tied ones count once.

    Attributes:
        embedding: the table of input embeddings, which is the output layer too where both are tied.
        head: the output layer; 0 where it is tied.
        text_layer: one decoder layer.
        text_layers: number of decoder layers.
        text_linear: weights of a decoder layer's linear maps.
        lora_rank_1: parameters of updates of rank 1 of all linear maps of the decoder layers.
        vision_lora_rank_1: the same of the vision tower's.
        vision: the vision tower.
        vision_block: one block of it.
        vision_blocks: number of blocks.
        recovery: cue recovery, norms included.
        total: all of them.
    """

    embedding: int
    head: int
    text_layer: int
    text_layers: int
    text_linear: int
    lora_rank_1: int
    vision_lora_rank_1: int
    vision: int
    vision_block: int
    vision_blocks: int
    recovery: int
    total: int

    @property
    def largest_layer(self) -> int:
        """The largest part that sharding gathers at once, besides the root."""
        return max(self.text_layer, self.vision_block)

    @property
    def root(self) -> int:
        """What belongs to no layer: embeddings, output layer, last norm, the vision tower's ends. Sharding gathers it whole."""
        return self.total - self.text_layers * self.text_layer - self.vision_blocks * self.vision_block - self.recovery


def model_sizes(config: Qwen3VLConfig, recovery: CueRecoverySettings | None) -> Sizes:
    """Counts the parameters of a backbone, or of a student with cue recovery."""
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
    """Parameters of cue recovery as the paper counts them (arXiv 2606.05718): four H x H projections at every ``interval``-th layer from
    layer 0 on, the last decoder layer included, and no norms. 100.7 M for 2B and 536.9 M for 8B at interval 5."""
    text = config.get_text_config()
    return len(range(0, text.num_hidden_layers, interval)) * 4 * int(text.hidden_size) ** 2


def _model(config: Qwen3VLConfig, recovery: CueRecoverySettings | None) -> Qwen3VLForConditionalGeneration:
    if recovery is None:
        return Qwen3VLForConditionalGeneration(config)
    fields = config.to_dict()
    fields.pop("model_type")
    # The sink's place changes no size; sink "assistant" would ask for a token id.
    settings = recovery.model_copy(update={"sink": "first"})
    student: Qwen3VLForConditionalGeneration = Qwen3VLStudentForConditionalGeneration(
        Qwen3VLStudentConfig.from_dict({**fields, "cue_recovery": settings.model_dump()})
    )
    return student


def _linear(module: nn.Module) -> list[nn.Linear]:
    return [m for m in module.modules() if isinstance(m, nn.Linear)]


def _rank_1(maps: list[nn.Linear]) -> int:
    return sum(m.in_features + m.out_features for m in maps)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
