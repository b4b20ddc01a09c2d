"""A tiny Qwen3-VL with random weights, and batches of token ids for it, without a download or a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, with_cue_recovery

PAD, IM_START, IM_END, VISION_START, VISION_END, IMAGE, VIDEO = range(7)
SYSTEM, USER, ASSISTANT = 7, 8, 9
WORDS = range(10, 64)
HIDDEN, HEADS = 64, 4
_PATCH, _MERGE = 4, 2


def backbone(*, seed: int = 0, layers: int = 6, tied: bool = True) -> Qwen3VLForConditionalGeneration:
    """Return a Qwen3-VL with about 0.2 M random weights, in evaluation mode."""
    text = {
        "vocab_size": 64,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "initializer_range": 0.15,
        "pad_token_id": PAD,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": _PATCH,
        "spatial_merge_size": _MERGE,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
        "initializer_range": 0.15,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(config).eval()


def fresh_student(
    base: Qwen3VLForConditionalGeneration | None = None,
    *,
    interval: int = 2,
    sink: Literal["first", "assistant"] = "first",
    seed: int = 0,
) -> Qwen3VLStudentForConditionalGeneration:
    """Return a student with a new module, which adds nothing."""
    settings = CueRecoverySettings(interval=interval, sink=sink)
    return with_cue_recovery(base or backbone(), settings, seed, im_start_token_id=IM_START)


def student(
    sink: Literal["first", "assistant"] = "first", *, interval: int = 2
) -> Qwen3VLStudentForConditionalGeneration:
    """Return a student whose module has a large effect on its sinks, as after training."""
    model = fresh_student(interval=interval, sink=sink)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for attention in model.model.cue_recovery.attentions().values():
            attention.o_proj.weight.copy_(torch.randn(HIDDEN, HIDDEN, generator=generator) * 0.3)
    return model


@dataclass(frozen=True)
class Picture:
    """A random image. Height and width are in visual tokens."""

    height: int = 2
    width: int = 3
    seed: int = 0

    @property
    def grid(self) -> tuple[int, int, int]:
        return 1, self.height * _MERGE, self.width * _MERGE

    @property
    def pixels(self) -> Tensor:
        count = self.height * self.width * _MERGE**2
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(count, 3 * 2 * _PATCH**2, generator=generator)


@dataclass(frozen=True)
class Row:
    """Ids, types and images of one sequence."""

    ids: list[int]
    types: list[int]
    pictures: list[Picture]


def row(*parts: int | Picture) -> Row:
    """Return a sequence of token ids and images, framed as in Qwen's template."""
    ids: list[int] = []
    types: list[int] = []
    for part in parts:
        if isinstance(part, Picture):
            count = part.height * part.width
            ids += [VISION_START, *[IMAGE] * count, VISION_END]
            types += [0, *[1] * count, 0]
        else:
            ids.append(part)
            types.append(0)
    return Row(ids, types, [part for part in parts if isinstance(part, Picture)])


def chat_row(*question: int | Picture, response: Sequence[int] = ()) -> Row:
    """Return a user turn, the assistant's header and a response."""
    return row(IM_START, USER, *question, IM_END, IM_START, ASSISTANT, *response)


def batch(rows: Sequence[Row], padding: Literal["left", "right"] = "left", width: int = 0) -> dict[str, Any]:
    """Return the arguments of a forward over ``rows``, padded to the longest or to ``width``."""
    width = max(width, *(len(r.ids) for r in rows))

    def padded(values: list[int]) -> list[int]:
        fill = [0] * (width - len(values))
        return fill + values if padding == "left" else values + fill

    pictures = [picture for r in rows for picture in r.pictures]
    arguments: dict[str, Any] = {
        "input_ids": torch.tensor([padded(r.ids) for r in rows]),
        "attention_mask": torch.tensor([padded([1] * len(r.ids)) for r in rows]),
        "mm_token_type_ids": torch.tensor([padded(r.types) for r in rows]),
    }
    if pictures:
        arguments["pixel_values"] = torch.cat([picture.pixels for picture in pictures])
        arguments["image_grid_thw"] = torch.tensor([picture.grid for picture in pictures])
    return arguments


@torch.no_grad()
def logprobs(
    model: Qwen3VLForConditionalGeneration,
    rows: Sequence[Row],
    padding: Literal["left", "right"] = "left",
    width: int = 0,
) -> list[Tensor]:
    """Return log-probs of each row's tokens without padding [tokens, V]."""
    arguments = batch(rows, padding, width)
    found = model(**arguments).logits.log_softmax(-1)
    return [found[n][arguments["attention_mask"][n].bool()] for n in range(len(rows))]
