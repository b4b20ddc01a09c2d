"""Estimate the memory of one GPU by part and phase of a step.

A step has four phases, and the largest one determines the peak: rollout, teacher scoring, update (forward and backward) and optimizer step.
Weights and optimizer state are resident in all of them.

All sequences are assumed to have the maximum length, and all micro-batches to be full. Sharding (FSDP2) divides resident memory by the
number of GPUs. In the compute dtype, it gathers the root (embeddings, output layer, norms) for a whole pass and two layers at a time: the
current one and the one that is prefetched.
"""

from __future__ import annotations

from enum import StrEnum

import torch

from vicur.modeling.tiles import TileSizes
from vicur.planning.activations import encoding, fixed_bytes, step_images, text_activations, vision_activations
from vicur.planning.footprint import decoder_layer_footprint
from vicur.planning.inputs import PlanInput
from vicur.planning.model import (
    Models,
    compute_bytes,
    frozen_parameters,
    frozen_precision,
    student_precision,
    trained_parameters,
)
from vicur.planning.sizes import Sizes

_FLOAT32 = torch.float32.itemsize
_ADAM_STATES = 2
_LAYERS_GATHERED = 2
# Logits, their masked copy, log-probabilities, and the copies that temperature and truncation make (vicur.modeling.generation).
_SAMPLING_COPIES = 5
# Copies of the logits of a tile while a log-probability or a divergence of two models is computed.
_TILE_COPIES, _STRIP_COPIES = 3, 8
_TILES = TileSizes.suited_to(torch.device("cuda"))


class Phase(StrEnum):
    """Phase of a training step."""

    ROLLOUT = "rollout"
    TEACHER = "teacher"
    UPDATE = "update"
    OPTIMIZER = "optimizer"


class Part(StrEnum):
    """Part of the memory of a GPU."""

    WEIGHTS = "weights"
    COPIES = "weights in the computing type"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    EMA = "EMA"
    TEACHER = "teacher"
    ACTIVATIONS = "activations"
    VISION = "vision tower"
    FEATURES = "image features"
    KV_CACHE = "KV cache"
    LOSS = "logits and loss tiles"


Memory = dict[Phase, dict[Part, int]]
"""Bytes by phase and part. Parts of 0 bytes are left out."""


def student_memory(plan: PlanInput, models: Models) -> Memory:
    """Return the memory of one GPU of the student."""
    resident = _resident(plan, models)
    phases = {Phase.ROLLOUT: _rollout(plan, models)}
    if plan.teacher != "none" and not plan.teacher_gpus:
        phases[Phase.TEACHER] = _scoring(plan, models, shards=plan.gpus if plan.sharded else 1)
    phases[Phase.UPDATE] = _update(plan, models)
    # The fused AdamW works in place and allocates nothing.
    phases[Phase.OPTIMIZER] = {}
    memory = {phase: _some(resident | parts) for phase, parts in phases.items()}
    if plan.sharded or plan.gpus == 1:
        # Gradients are freed after the update. DDP keeps them, as views of its buckets.
        memory[Phase.ROLLOUT].pop(Part.GRADIENTS)
    return memory


def teacher_memory(plan: PlanInput, models: Models) -> Memory:
    """Return the memory of one GPU that holds only the teacher, or an empty dict if there are none."""
    if not plan.teacher_gpus:
        return {}
    return {Phase.TEACHER: _some({Part.TEACHER: _teacher_weights(plan, models)} | _scoring(plan, models, shards=1))}


def peak(memory: Memory) -> tuple[Phase, int]:
    """Return the phase with the most memory, and its bytes."""
    totals = {phase: sum(parts.values()) for phase, parts in memory.items()}
    highest = max(totals, key=lambda phase: totals[phase])
    return highest, totals[highest]


def state_bytes(plan: PlanInput, sizes: Sizes) -> dict[Part, int]:
    """Return the bytes of one full copy of the student's weights, gradients and AdamW state.

    Trained weights are float32, frozen ones are held in the compute dtype.
    """
    trained = _FLOAT32 * trained_parameters(plan, sizes)
    return {
        Part.WEIGHTS: trained + compute_bytes(plan) * frozen_parameters(plan, sizes),
        Part.GRADIENTS: trained,
        Part.OPTIMIZER: _ADAM_STATES * trained,
    }


def _resident(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Bytes that are allocated in every phase."""
    shards, state = _shards(plan), state_bytes(plan, models.sizes)
    # A frozen vision tower is not sharded, neither the student's nor a fixed teacher's: each GPU encodes whenever it needs to.
    own_tower = 0 if plan.train_vision else compute_bytes(plan) * models.sizes.vision
    return {
        Part.WEIGHTS: (state[Part.WEIGHTS] - own_tower) // shards + own_tower,
        Part.GRADIENTS: _held_gradients(plan, models.sizes),
        Part.OPTIMIZER: state[Part.OPTIMIZER] // shards,
        Part.EMA if plan.teacher == "ema" else Part.TEACHER: _held_teacher(plan, models),
        Part.FEATURES: _features(plan, models),
    }


def _held_teacher(plan: PlanInput, models: Models) -> int:
    """Bytes of the teacher's weights on a GPU of the student."""
    weights = 0 if plan.teacher_gpus else _teacher_weights(plan, models)
    if not weights or models.teacher_sizes is None:
        return 0
    # Only the moving average of a trained tower changes and is therefore sharded with the rest.
    whole = not plan.train_vision if plan.teacher == "ema" else True
    tower = compute_bytes(plan) * models.teacher_sizes.vision if whole else 0
    return (weights - tower) // _shards(plan) + tower


def _shards(plan: PlanInput) -> int:
    return plan.gpus if plan.sharded else 1


def _teacher_weights(plan: PlanInput, models: Models) -> int:
    if models.teacher_sizes is None or plan.teacher == "adapter_off":
        return 0
    if plan.teacher == "ema":
        # In the student's dtypes: bfloat16 would round small updates of the average to nothing.
        return state_bytes(plan, models.sizes)[Part.WEIGHTS]
    return models.teacher_sizes.total * compute_bytes(plan)


def _held_gradients(plan: PlanInput, sizes: Sizes) -> int:
    gradients = state_bytes(plan, sizes)[Part.GRADIENTS]
    return gradients // plan.gpus if plan.sharded else gradients


def _unsharded_gradients(plan: PlanInput, sizes: Sizes) -> int:
    """Bytes of full gradients before they are reduce-scattered, which happens in every micro-batch."""
    if not plan.sharded:
        return 0
    return compute_bytes(plan) * min(
        trained_parameters(plan, sizes), sizes.root + _LAYERS_GATHERED * sizes.largest_layer
    )


def _copies(plan: PlanInput, sizes: Sizes) -> int:
    """Bytes of the additional copies of the student's weights in the compute dtype during a pass."""
    if student_precision(plan).autocast:
        # Autocast caches the cast weights of linear layers for the whole forward, and the graph holds them until the backward.
        return compute_bytes(plan) * (sizes.total - (sizes.embedding if sizes.head else 0))
    return _gathered(plan, sizes, _shards(plan))


def _gathered(plan: PlanInput, sizes: Sizes, shards: int) -> int:
    """Bytes of the weights that are gathered at the same time during a pass over sharded layers."""
    if shards == 1:
        return 0
    return compute_bytes(plan) * min(sizes.total, sizes.root + _LAYERS_GATHERED * sizes.largest_layer)


def _features(plan: PlanInput, models: Models) -> int:
    """Bytes of the image features of a step and of the feature caches of frozen towers."""
    text = models.student.text
    deepstack = len(models.student.vision.deepstack_visual_indexes)
    image = plan.visual_tokens * text.hidden_size * (1 + deepstack) * compute_bytes(plan)
    # Frozen towers have a feature cache: the student's, and the teacher's if it is a different one.
    other_tower = plan.teacher == "checkpoint" or (plan.teacher in ("frozen", "adapter_off") and plan.train_vision)
    towers = (not plan.train_vision) + (other_tower and not plan.teacher_gpus)
    cache = int(plan.feature_cache * 2**30)
    if plan.examples is not None:
        cache = min(cache, plan.examples * image)
    return step_images(plan) * image + towers * cache


def _rollout(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Bytes of prefill and decoding."""
    # The peaks of prefill and decoding are added up although they do not coincide: they differ by less than the KV cache.
    text, rows = models.student.text, plan.rollout_batch
    tokens = plan.max_prompt_tokens + plan.max_response_tokens
    precision = student_precision(plan)
    width = rows * models.student.key_value_heads * models.student.head_dim
    # Under autocast the norm of the keys returns float32, and the cache stores values in the same dtype as keys.
    token_bytes = 2 * (_FLOAT32 if precision.autocast else compute_bytes(plan))
    # One more layer: appending a token copies the cache of a layer before the old one is freed.
    cache = (text.num_hidden_layers + 1) * width * tokens * token_bytes
    layer = decoder_layer_footprint(text, rows, plan.max_prompt_tokens, precision)
    states = rows * plan.max_prompt_tokens * text.hidden_size * precision.state_bytes
    # FSDP gathers the whole model for generation, since the GPUs do not decode in lockstep.
    gathered = compute_bytes(plan) * models.sizes.total
    return {
        Part.COPIES: gathered if plan.sharded else _copies(plan, models.sizes),
        Part.KV_CACHE: cache,
        Part.ACTIVATIONS: layer.forward_peak + states + rows * plan.max_prompt_tokens**2,
        Part.LOSS: _SAMPLING_COPIES * _FLOAT32 * rows * text.vocab_size,
        Part.VISION: encoding(plan, models.student, precision) + vision_activations(plan, models)[0],
    }


def _scoring(plan: PlanInput, models: Models, shards: int) -> dict[Part, int]:
    """Bytes of a forward pass of the teacher without a graph, and of scoring the responses."""
    assert models.teacher_sizes is not None
    text, rows = models.teacher.text, plan.micro_batch
    tokens = plan.max_prompt_tokens + plan.max_response_tokens
    # These teachers have the student's weights or their average, in the student's dtypes.
    own = plan.teacher in ("ema", "adapter_off")
    precision = student_precision(plan) if own else frozen_precision(plan)
    sizes = models.teacher_sizes
    layer = decoder_layer_footprint(text, rows, tokens, precision, trained=False)
    states = rows * tokens * text.hidden_size * precision.state_bytes
    graph = 0 if plan.teacher_gpus else vision_activations(plan, models)[0]
    return {
        Part.ACTIVATIONS: layer.forward_peak + states + fixed_bytes(rows, tokens),
        Part.VISION: encoding(plan, models.teacher, precision) + graph,
        Part.LOSS: rows * plan.max_response_tokens * text.hidden_size * precision.state_bytes
        + _TILE_COPIES * _tile(rows * plan.max_response_tokens, text.vocab_size),
        Part.COPIES: _copies(plan, sizes) if own and precision.autocast else _gathered(plan, sizes, shards),
    }


def _update(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Peak bytes of the forward and backward pass of a micro-batch."""
    return {
        Part.COPIES: _copies(plan, models.sizes) + _gathered_teacher_root(plan, models),
        Part.GRADIENTS: _held_gradients(plan, models.sizes) + _unsharded_gradients(plan, models.sizes),
        Part.ACTIVATIONS: sum(text_activations(plan, models)),
        Part.VISION: sum(vision_activations(plan, models)),
        Part.LOSS: loss_bytes(plan, models),
    }


def _gathered_teacher_root(plan: PlanInput, models: Models) -> int:
    """Bytes of the root of a sharded teacher, which stays gathered because the loss reads its output layer."""
    if not plan.sharded or plan.teacher_gpus or models.teacher_sizes is None or plan.teacher == "adapter_off":
        return 0
    return compute_bytes(plan) * (models.teacher_sizes.embedding + models.teacher_sizes.head)


def loss_bytes(plan: PlanInput, models: Models) -> int:
    """Return the bytes of the loss of one micro-batch (``vicur.modeling.tiles``)."""
    text = models.student.text
    tokens = plan.micro_batch * plan.max_response_tokens
    # Hidden states of the response tokens and their gradient.
    own = 2 * tokens * text.hidden_size * _FLOAT32
    if plan.trained == "full":
        # Gradient of the output layer, before it is accumulated.
        own += text.vocab_size * text.hidden_size * _FLOAT32
    if not plan.whole_vocabulary:
        return own + _TILE_COPIES * _tile(tokens, text.vocab_size)
    # Further updates reuse the teacher's hidden states of the whole batch.
    rows = plan.sequences_a_gpu if plan.updates > 1 else plan.micro_batch
    states = rows * plan.max_response_tokens * models.teacher.text.hidden_size * compute_bytes(plan)
    token = text.vocab_size * _FLOAT32
    strip = min(tokens, max(1, _TILES.strip_bytes // token))
    # One strip of logits per model. If there are several, the previous two are freed only after both new ones exist.
    strips = 2 if strip == tokens else 4
    return own + states + strips * strip * token + _STRIP_COPIES * _tile(strip, text.vocab_size)


def _tile(tokens: int, vocabulary: int) -> int:
    return min(_TILES.tokens, tokens) * min(_TILES.width(tokens), vocabulary) * _FLOAT32


def _some(parts: dict[Part, int]) -> dict[Part, int]:
    return {part: size for part, size in sorted(parts.items(), key=lambda item: list(Part).index(item[0])) if size}
