"""Memory of a GPU by part and phase of a step.

A step has four phases, and the one that takes most decides: the student answers (rollout), the teacher scores, the student learns
(update: forward and backward), and the optimizer writes the weights. Weights and optimizer state are there throughout.

Every sequence is taken to be as long as it may get, and every micro-batch to be full. Sharding (FSDP2) divides what is resident by the
number of GPUs, and gathers in the computing type the root (embeddings, output layer, norms), which stays for a whole pass, and two layers
at a time: the one that computes and the one that is fetched ahead.
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
# Logits, their masked copy, log-probabilities, and what temperature and truncation make of them (vicur.modeling.generation.draw).
_DRAW_COPIES = 5
# Logits of a tile and what becomes of them; the same of two models, with a divergence's terms.
_TILE_COPIES, _STRIP_COPIES = 3, 8
_TILES = TileSizes.suited_to(torch.device("cuda"))


class Phase(StrEnum):
    """What a GPU is at."""

    ROLLOUT = "rollout"
    TEACHER = "teacher"
    UPDATE = "update"
    OPTIMIZER = "optimizer"


class Part(StrEnum):
    """What takes memory."""

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
"""Bytes by phase and part; a part that takes none is left out."""


def student_memory(plan: PlanInput, models: Models) -> Memory:
    """Memory of one of the student's GPUs."""
    resident = _resident(plan, models)
    phases = {Phase.ROLLOUT: _rollout(plan, models)}
    if plan.teacher != "none" and not plan.teacher_gpus:
        phases[Phase.TEACHER] = _scoring(plan, models, shards=plan.gpus if plan.sharded else 1)
    phases[Phase.UPDATE] = _update(plan, models)
    # The fused AdamW works in place.
    phases[Phase.OPTIMIZER] = {}
    made = {phase: _some(resident | parts) for phase, parts in phases.items()}
    if plan.sharded or plan.gpus == 1:
        # Cleared after each update; the buckets of an exchange stay.
        made[Phase.ROLLOUT].pop(Part.GRADIENTS)
    return made


def teacher_memory(plan: PlanInput, models: Models) -> Memory:
    """Memory of one of the teacher's own GPUs; empty where it has none."""
    if not plan.teacher_gpus:
        return {}
    return {Phase.TEACHER: _some({Part.TEACHER: _teacher_weights(plan, models)} | _scoring(plan, models, shards=1))}


def peak(memory: Memory) -> tuple[Phase, int]:
    """The phase that takes most, and how many bytes it takes."""
    totals = {phase: sum(parts.values()) for phase, parts in memory.items()}
    highest = max(totals, key=lambda phase: totals[phase])
    return highest, totals[highest]


def state_bytes(plan: PlanInput, sizes: Sizes) -> dict[Part, int]:
    """Bytes of the student's weights, gradients and AdamW state over all GPUs together, cut or not: float32 for what is trained, the
    computing type for what is not. AdamW keeps two numbers a weight."""
    trained = _FLOAT32 * trained_parameters(plan, sizes)
    return {
        Part.WEIGHTS: trained + compute_bytes(plan) * frozen_parameters(plan, sizes),
        Part.GRADIENTS: trained,
        Part.OPTIMIZER: _ADAM_STATES * trained,
    }


def _resident(plan: PlanInput, models: Models) -> dict[Part, int]:
    """What is there in every phase."""
    shards, state = _shards(plan), state_bytes(plan, models.sizes)
    # A vision tower that is not trained is whole on each GPU: the student's, and that of a teacher that stays as it is.
    own_tower = 0 if plan.train_vision else compute_bytes(plan) * models.sizes.vision
    return {
        Part.WEIGHTS: (state[Part.WEIGHTS] - own_tower) // shards + own_tower,
        Part.GRADIENTS: _held_gradients(plan, models.sizes),
        Part.OPTIMIZER: state[Part.OPTIMIZER] // shards,
        Part.EMA if plan.teacher == "ema" else Part.TEACHER: _held_teacher(plan, models),
        Part.FEATURES: _features(plan, models),
    }


def _held_teacher(plan: PlanInput, models: Models) -> int:
    """Bytes of the teacher's weights that a GPU of the student holds."""
    weights = 0 if plan.teacher_gpus else _teacher_weights(plan, models)
    if not weights or models.teacher_sizes is None:
        return 0
    whole = not plan.train_vision if plan.teacher == "ema" else True
    tower = compute_bytes(plan) * models.teacher_sizes.vision if whole else 0
    return (weights - tower) // _shards(plan) + tower


def _shards(plan: PlanInput) -> int:
    return plan.gpus if plan.sharded else 1


def _teacher_weights(plan: PlanInput, models: Models) -> int:
    """Bytes of the teacher's own weights: a moving average is held as the student is, or a small step would be lost in it."""
    if models.teacher_sizes is None or plan.teacher == "adapter_off":
        return 0
    if plan.teacher == "ema":
        return state_bytes(plan, models.sizes)[Part.WEIGHTS]
    return models.teacher_sizes.total * compute_bytes(plan)


def _held_gradients(plan: PlanInput, sizes: Sizes) -> int:
    """Bytes of the gradients that a GPU holds. Where replicas exchange them, they are views of its buckets."""
    gradients = state_bytes(plan, sizes)[Part.GRADIENTS]
    return gradients // plan.gpus if plan.sharded else gradients


def _passing_gradients(plan: PlanInput, sizes: Sizes) -> int:
    """Bytes of whole gradients of the layers at work, on their way to be summed and cut. Each micro-batch sends its own."""
    if not plan.sharded:
        return 0
    return compute_bytes(plan) * min(
        trained_parameters(plan, sizes), sizes.root + _LAYERS_GATHERED * sizes.largest_layer
    )


def _copies(plan: PlanInput, sizes: Sizes) -> int:
    """Bytes of the student's weights in the computing type during a pass, beside those that are held."""
    if student_precision(plan).autocast:
        # Autocast keeps its copies of the weights of linear maps for the whole forward, and the graph for the backward.
        return compute_bytes(plan) * (sizes.total - (sizes.embedding if sizes.head else 0))
    return _gathered(plan, sizes, _shards(plan))


def _gathered(plan: PlanInput, sizes: Sizes, shards: int) -> int:
    """Bytes of the weights that a pass over sharded layers has gathered at once."""
    if shards == 1:
        return 0
    return compute_bytes(plan) * min(sizes.total, sizes.root + _LAYERS_GATHERED * sizes.largest_layer)


def _features(plan: PlanInput, models: Models) -> int:
    """Features of the images of a GPU's share of a step, and those remembered of towers that are frozen."""
    text = models.student.text
    deepstack = len(models.student.vision.deepstack_visual_indexes)
    image = plan.visual_tokens * text.hidden_size * (1 + deepstack) * compute_bytes(plan)
    # A tower that does not change remembers: the student's, and the teacher's where that is another.
    others = plan.teacher == "checkpoint" or (plan.teacher in ("frozen", "adapter_off") and plan.train_vision)
    towers = (not plan.train_vision) + (others and not plan.teacher_gpus)
    remembered = int(plan.feature_cache * 2**30)
    if plan.examples is not None:
        remembered = min(remembered, plan.examples * image)
    return step_images(plan) * image + towers * remembered


def _rollout(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Prefill and decoding. Both heights are counted as if they fell together; they differ by less than the KV cache."""
    text, rows = models.student.text, plan.rollout_batch
    tokens = plan.max_prompt_tokens + plan.max_response_tokens
    precision = student_precision(plan)
    width = rows * models.student.key_value_heads * models.student.head_dim
    # Under autocast the keys' norm makes them float32 again, and the cache holds the values as it holds the keys.
    token_bytes = 2 * (_FLOAT32 if precision.autocast else compute_bytes(plan))
    # A layer's old cache stands beside the new one while a token is appended.
    cache = (text.num_hidden_layers + 1) * width * tokens * token_bytes
    layer = decoder_layer_footprint(text, rows, plan.max_prompt_tokens, precision)
    states = rows * plan.max_prompt_tokens * text.hidden_size * precision.state_bytes
    # All is gathered there: each GPU answers at its own pace.
    gathered = compute_bytes(plan) * models.sizes.total
    return {
        Part.COPIES: gathered if plan.sharded else _copies(plan, models.sizes),
        Part.KV_CACHE: cache,
        Part.ACTIVATIONS: layer.forward_peak + states + rows * plan.max_prompt_tokens**2,
        Part.LOSS: _DRAW_COPIES * _FLOAT32 * rows * text.vocab_size,
        Part.VISION: encoding(plan, models.student, precision) + vision_activations(plan, models)[0],
    }


def _scoring(plan: PlanInput, models: Models, shards: int) -> dict[Part, int]:
    """A forward of the teacher without graph, and its scores of the responses."""
    assert models.teacher_sizes is not None
    text, rows = models.teacher.text, plan.micro_batch
    tokens = plan.max_prompt_tokens + plan.max_response_tokens
    # The student's own weights, or their average, are read as the student reads them.
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
    """Forward and backward of the student on one micro-batch, at their height."""
    return {
        Part.COPIES: _copies(plan, models.sizes) + _teachers_root(plan, models),
        Part.GRADIENTS: _held_gradients(plan, models.sizes) + _passing_gradients(plan, models.sizes),
        Part.ACTIVATIONS: sum(text_activations(plan, models)),
        Part.VISION: sum(vision_activations(plan, models)),
        Part.LOSS: loss_bytes(plan, models),
    }


def _teachers_root(plan: PlanInput, models: Models) -> int:
    """Bytes of what a sharded teacher keeps gathered until the loss, which reads its output layer."""
    if not plan.sharded or plan.teacher_gpus or models.teacher_sizes is None or plan.teacher == "adapter_off":
        return 0
    return compute_bytes(plan) * (models.teacher_sizes.embedding + models.teacher_sizes.head)


def loss_bytes(plan: PlanInput, models: Models) -> int:
    """States of the response tokens and their gradient, the output layer's gradient before it is added to what is held, and a tile of
    logits, or a strip for each of two distributions that are compared (``vicur.modeling.tiles``)."""
    text = models.student.text
    tokens = plan.micro_batch * plan.max_response_tokens
    own = 2 * tokens * text.hidden_size * _FLOAT32
    if plan.trained == "full":
        own += text.vocab_size * text.hidden_size * _FLOAT32
    if not plan.whole_vocabulary:
        return own + _TILE_COPIES * _tile(tokens, text.vocab_size)
    # Later updates of a batch learn from the same states of the teacher.
    taught = plan.sequences_a_gpu if plan.updates > 1 else plan.micro_batch
    states = taught * plan.max_response_tokens * models.teacher.text.hidden_size * compute_bytes(plan)
    token = text.vocab_size * _FLOAT32
    strip = min(tokens, max(1, _TILES.strip_bytes // token))
    # Two models' strips, and those before them until both are made.
    strips = 2 if strip == tokens else 4
    return own + states + strips * strip * token + _STRIP_COPIES * _tile(strip, text.vocab_size)


def _tile(tokens: int, vocabulary: int) -> int:
    """Bytes of a tile of logits of so many tokens."""
    return min(_TILES.tokens, tokens) * min(_TILES.width(tokens), vocabulary) * _FLOAT32


def _some(parts: dict[Part, int]) -> dict[Part, int]:
    return {part: size for part, size in sorted(parts.items(), key=lambda item: list(Part).index(item[0])) if size}
