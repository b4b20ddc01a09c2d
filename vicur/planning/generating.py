"""Estimate the memory of generation: rollouts, validation, and the evaluation after the training.

Validation and evaluation answer as many questions at once as memory holds, at most the configured number
(``vicur.modeling.batch_sizes``). Rollouts keep their batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vicur.planning.activations import encoding, encoding_of, vision_activations
from vicur.planning.architecture import Architecture
from vicur.planning.footprint import Precision, decoder_layer_footprint
from vicur.planning.inputs import PlanInput
from vicur.planning.model import Models, compute_bytes, saved_precision, student_precision
from vicur.planning.parts import Part, nonzero
from vicur.planning.resident import (
    FLOAT32,
    cache_bytes,
    cached_features,
    copies,
    engines,
    image_features,
)
from vicur.planning.sizes import Sizes

# Logits, their masked copy, log-probabilities, and the copies that temperature and truncation make (vicur.modeling.generation).
_SAMPLING_COPIES = 5


@dataclass(frozen=True)
class Batch:
    """Prompts that are answered at once."""

    rows: int
    prompt: int  # tokens of the longest prompt
    response: int  # tokens of the longest response


def rollout(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Return the bytes of sampling rollouts besides what is resident."""
    # The images of the step were encoded before, with the graph of a trained tower, unless these are the rollouts of the next one.
    graph = 0 if plan.samples_ahead else vision_activations(plan, models)[0]
    if plan.rollout_engine != "process":
        return {**_external(plan, models), Part.VISION: graph}
    batch = Batch(plan.rollout_batch, plan.max_prompt_tokens, plan.max_response_tokens)
    parts = _generation(plan, models, batch)
    parts[Part.VISION] = graph + encoding(plan, models.student, student_precision(plan))
    return parts


def validation(plan: PlanInput, models: Models, rows: int) -> dict[Part, int]:
    """Return the bytes of answering ``rows`` validation questions at once besides what is resident."""
    if plan.rollout_engine != "process":
        return _external(plan, models)
    parts = _generation(plan, models, Batch(rows, plan.max_prompt_tokens, plan.max_response_tokens))
    # A frozen tower encodes one image at a time.
    images = rows if plan.train_vision else 1
    parts[Part.VISION] = encoding_of(plan, models.student, student_precision(plan), images)
    parts[Part.FEATURES] = cached_features(plan, models) + image_features(plan, models, rows)
    return parts


def evaluation(plan: PlanInput, models: Models, rows: int) -> dict[Part, int]:
    """Return the bytes of the evaluation stage, which runs on one GPU, with ``rows`` questions at once."""
    precision = saved_precision(plan, models.student)
    number = precision.weights.itemsize
    batch = Batch(rows, plan.evaluation_prompt_tokens or plan.max_prompt_tokens, plan.evaluation_response_tokens)
    return nonzero(
        {
            Part.WEIGHTS: number * models.sizes.total,
            **_parts(models.student, batch, precision, (number, number)),
            Part.VISION: encoding_of(plan, models.student, precision, rows),
            Part.FEATURES: image_features(plan, models, rows) * number // compute_bytes(plan),
        }
    )


def fitting_rows(most: int, size: Callable[[int], int], limit: int) -> int:
    """Return ``most`` if its ``size`` in bytes is within ``limit``, otherwise the largest power of two that is, at least 1."""
    # As rows_that_fit of vicur.modeling.batch_sizes.
    if size(most) <= limit:
        return most
    rows = 1 << (most.bit_length() - 1)
    while rows > 1 and size(rows) > limit:
        rows //= 2
    return rows


def _generation(plan: PlanInput, models: Models, batch: Batch) -> dict[Part, int]:
    precision = student_precision(plan)
    # FSDP gathers the whole model for generation, since the GPUs do not decode in lockstep.
    whole = compute_bytes(plan) * models.sizes.total
    return {
        Part.COPIES: whole if plan.sharded else copies(plan, models.sizes),
        **_parts(models.student, batch, precision, cache_bytes(precision, plan)),
    }


def _parts(model: Architecture, batch: Batch, precision: Precision, numbers: tuple[int, int]) -> dict[Part, int]:
    """Bytes of prefill and decoding, added up although their peaks do not coincide: they differ by less than the KV cache.

    Args:
        numbers: bytes of a number in the cached keys, and in the values.
    """
    text, rows = model.text, batch.rows
    layer = decoder_layer_footprint(text, rows, batch.prompt, precision, trained=False)
    states = rows * batch.prompt * text.hidden_size * precision.state_bytes
    keys, values = numbers
    tokens = rows * (batch.prompt + batch.response)
    # Buffers for the longest response. Of one layer, the keys of at most half of the rows exist twice while finished rows are dropped.
    width = text.num_hidden_layers * (keys + values) * tokens + keys * tokens // 2
    return {
        Part.KV_CACHE: width * model.key_value_heads * model.head_dim,
        Part.ACTIVATIONS: layer.forward_peak + states + rows * batch.prompt**2,
        Part.LOSS: _SAMPLING_COPIES * FLOAT32 * rows * text.vocab_size,
    }


def _external(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Bytes of an engine that generates responses, while it also receives weights."""
    return {Part.VLLM: engines(plan, models, awake=True), Part.COPIES: _bucket(plan, models.sizes)}


def _bucket(plan: PlanInput, sizes: Sizes) -> int:
    """Bytes of a bucket of weights on its way to an engine."""
    number = compute_bytes(plan)
    # The embedding is the largest weight. It is a bucket of its own if it exceeds the bound.
    size = min(max(int(plan.bucket_mb * 1e6), sizes.embedding * number), sizes.total * number)
    if plan.sharded:
        # This process's shards, what the collective returns, and the weights that are taken from it.
        return size // plan.gpus + 2 * size
    return size if number != FLOAT32 else 0
