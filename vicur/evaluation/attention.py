"""Record a student's sink attention for a few questions as ``attention.json``; the report draws it over the images.

A model without the cue recovery module gets no file. Its sink is an ordinary first token, which precedes the images
and therefore attends to none of them.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from transformers import Qwen3VLForConditionalGeneration

from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation.prompts import prompts_for
from vicur.evaluation.selection import sample_evenly
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, sink_attention
from vicur.modeling.chat import Chat
from vicur.modeling.vision import encode_images, encoder_outputs

ATTENTION = "attention.json"
# Full float precision would make the file ten times larger; the report shows shares with one decimal.
_DIGITS = 5


class ImageAttention(BaseModel):
    """Attention of the sink over one image."""

    rows: int
    columns: int
    layers: dict[int, list[float]]
    """By decoder layer that a module follows: the weight of each visual token, row by row, averaged over heads."""


class AttentionSample(BaseModel):
    """Attention of the sink for one question."""

    # Over all images of the question, the weights of a layer add up to 1.
    example_id: str
    images: list[ImageAttention]


class SinkAttentionRecord(BaseModel):
    """Content of ``attention.json``."""

    sink: Literal["first", "assistant"]
    """Position of the sink. ``first`` precedes the question, so its attention is the same for every question."""
    samples: list[AttentionSample]


@dataclass(frozen=True)
class _Candidate:
    """What decides whether a question is sampled: the examples themselves may not fit into memory."""

    number: int
    kind: str
    group: str


def attention_record(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    examples: Sequence[Example],
    count: int,
    seed: int,
    *,
    only: Container[str] | None = None,
) -> SinkAttentionRecord | None:
    """Record the sink's attention for ``count`` of the examples; ``None`` for a model without the cue recovery module.

    Args:
        only: ids of the examples to choose from; by default all.
    """
    if not isinstance(model, Qwen3VLStudentForConditionalGeneration):
        return None
    # Sampled evenly over kinds and groups. The seed alone decides, so every student of a run shows the same examples.
    asked = examples if count else ()
    with_images = [
        _Candidate(n, e.kind, e.group) for n, e in enumerate(asked) if e.images and (only is None or e.id in only)
    ]
    chosen = sample_evenly(
        with_images, count, by=lambda e: e.kind, apart=lambda e: e.group, seed=seed, name="attention"
    )
    samples = [_sample(model, chat, examples[each.number]) for each in chosen]
    return SinkAttentionRecord(sink=model.config.recovery_settings.sink, samples=samples)


def _sample(model: Qwen3VLStudentForConditionalGeneration, chat: Chat, example: Example) -> AttentionSample:
    batch = chat.collate(prompts_for(chat, [example]), device=str(model.device))
    maps = sink_attention(
        model,
        {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "position_ids": batch.position_ids,
            "mm_token_type_ids": batch.mm_token_type_ids,
            "mm_encoder_outputs": encoder_outputs(encode_images(model, batch.pixels), batch.pixels),
            "image_grid_thw": batch.grids,
            "video_grid_thw": batch.video_grids,
        },
    )
    images = []
    for weights_LKFYX in maps.images(0):
        # Mean over heads K. An image has one frame (F = 1); each group of frames of a video counts as an image.
        for weights_LYX in weights_LKFYX.mean(1).unbind(1):
            _, rows, columns = weights_LYX.shape
            layers = {
                layer: [round(float(w), _DIGITS) for w in weights_YX.flatten()]
                for layer, weights_YX in zip(maps.weights, weights_LYX, strict=True)
            }
            images.append(ImageAttention(rows=rows, columns=columns, layers=layers))
    return AttentionSample(example_id=example.id, images=images)


def write_attention(record: SinkAttentionRecord, folder: Path) -> None:
    (folder / ATTENTION).write_text(record.model_dump_json() + "\n", encoding="utf-8")


def read_attention(folder: Path) -> SinkAttentionRecord | None:
    """Read the record of the evaluation in ``folder``, or return ``None`` if its model has no cue recovery module.

    Raises:
        VicurError: if the file is damaged.
    """
    path = folder / ATTENTION
    # Models without the module write no file.
    if not path.exists():
        return None
    try:
        return SinkAttentionRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the evaluate stage again."
        ) from error
