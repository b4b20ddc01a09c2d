"""Estimate the memory of one GPU by part and phase.

A training loads its models, and each step has four phases: rollout, teacher scoring, update (forward and backward) and optimizer step.
Validations come between steps, and the evaluation stage follows on one GPU. The largest phase determines the peak. Weights and optimizer
state are resident in all phases but the first and the last.

All sequences are assumed to have the maximum length, and all micro-batches to be full. Sharding (FSDP2) divides resident memory by the
number of GPUs. In the compute dtype, it gathers the root (embeddings, output layer, norms) for a whole pass and two layers at a time: the
current one and the one that is prefetched.
"""

from __future__ import annotations

import torch

from vicur.modeling.tiles import TileSizes
from vicur.planning.activations import encoding, fixed_bytes, step_images, text_activations, vision_activations
from vicur.planning.footprint import decoder_layer_footprint
from vicur.planning.generating import evaluation, fitting_rows, rollout, validation
from vicur.planning.inputs import PlanInput
from vicur.planning.model import Models, compute_bytes, frozen_precision, student_precision
from vicur.planning.parts import Memory, Part, Phase, nonzero
from vicur.planning.resident import (
    FLOAT32,
    copies,
    feature_cache,
    gathered,
    gathered_teacher_root,
    held_gradients,
    image_features,
    loading,
    resident,
    shards_of,
    teacher_has_own_features,
    teacher_in_process,
    teacher_weights,
    unsharded_gradients,
)

# Copies of the logits of a tile while a log-probability or a divergence of two models is computed.
_TILE_COPIES, _STRIP_COPIES = 3, 8


def student_memory(plan: PlanInput, models: Models) -> Memory:
    """Return the memory of one GPU of the student."""
    held = resident(plan, models)
    phases = {Phase.ROLLOUT: rollout(plan, models)} if plan.on_policy else {}
    if teacher_in_process(plan) and not plan.teacher_gpus:
        phases[Phase.TEACHER] = _scoring(plan, models, shards=shards_of(plan))
    phases[Phase.UPDATE] = _update(plan, models)
    # The fused AdamW works in place and allocates nothing.
    phases[Phase.OPTIMIZER] = {}
    phases[Phase.VALIDATION] = validation(plan, models, validation_rows(plan, models))
    memory = {Phase.LOAD: nonzero(loading(plan, models))}
    memory |= {phase: nonzero(held | parts) for phase, parts in phases.items()}
    if plan.sharded or plan.gpus == 1:
        # Gradients are freed after the update. DDP keeps them, as views of its buckets.
        for phase in (Phase.ROLLOUT, Phase.VALIDATION):
            memory.get(phase, {}).pop(Part.GRADIENTS, None)
    return memory


def teacher_memory(plan: PlanInput, models: Models) -> Memory:
    """Return the memory of one GPU that holds only the teacher, or an empty dict if there are none."""
    if not plan.teacher_gpus or not teacher_in_process(plan):
        return {}
    weights = {Part.TEACHER: teacher_weights(plan, models)}
    cache = feature_cache(plan, models) if teacher_has_own_features(plan) else 0
    features = {Part.FEATURES: image_features(plan, models, step_images(plan)) + cache}
    return {Phase.LOAD: weights, Phase.TEACHER: nonzero({**weights, **features, **_scoring(plan, models, shards=1)})}


def evaluation_memory(plan: PlanInput, models: Models) -> Memory:
    """Return the memory of the GPU of an evaluation."""
    return {Phase.EVALUATION: evaluation(plan, models, evaluation_rows(plan, models))}


def validation_rows(plan: PlanInput, models: Models) -> int:
    """Return how many questions a GPU answers at once in a validation."""
    most = min(plan.validation_batch, -(-max(1, plan.validation_examples) // plan.gpus))
    if plan.device == "cpu":
        return most
    held = resident(plan, models)
    if plan.sharded or plan.gpus == 1:
        held.pop(Part.GRADIENTS)
    # What is resident includes features of a step, in place of which validation has its own.
    return fitting_rows(most, lambda rows: sum((held | validation(plan, models, rows)).values()), plan.hardware.limit)


def evaluation_rows(plan: PlanInput, models: Models) -> int:
    """Return how many questions the evaluation answers at once."""
    if plan.device == "cpu":
        return plan.evaluation_batch_size
    return fitting_rows(
        plan.evaluation_batch_size, lambda rows: sum(evaluation(plan, models, rows).values()), plan.hardware.limit
    )


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
        + _TILE_COPIES * _tile(plan, rows * plan.max_response_tokens, text.vocab_size),
        Part.COPIES: copies(plan, sizes) if own and precision.autocast else gathered(plan, sizes, shards),
    }


def _update(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Peak bytes of the forward and backward pass of a micro-batch."""
    activations, loss = sum(text_activations(plan, models)), loss_bytes(plan, models)
    return {
        Part.COPIES: copies(plan, models.sizes) + gathered_teacher_root(plan, models),
        Part.GRADIENTS: _gradients_at_peak(plan, models, activations + loss) + unsharded_gradients(plan, models.sizes),
        Part.ACTIVATIONS: activations,
        Part.VISION: sum(vision_activations(plan, models)),
        Part.LOSS: loss,
    }


def _gradients_at_peak(plan: PlanInput, models: Models, freed: int) -> int:
    """Bytes of gradients at the peak of an update, in whose backward pass ``freed`` bytes are freed as gradients come into being."""
    held = held_gradients(plan, models.sizes)
    replicated = plan.gpus > 1 and not plan.sharded
    if replicated or plan.micro_batch < plan.sequences_a_gpu:
        # DDP's buckets, and the sums of earlier micro-batches.
        return held
    # A single micro-batch: at first there are those of one layer only (that of the output layer is part of the loss), at last all.
    return max(min(held, FLOAT32 * models.sizes.text_layer // shards_of(plan)), held - freed)


def loss_bytes(plan: PlanInput, models: Models) -> int:
    """Return the bytes of the loss of one micro-batch (``vicur.modeling.tiles``)."""
    text = models.student.text
    tokens = plan.micro_batch * plan.max_response_tokens
    # Hidden states of the response tokens and their gradient.
    own = 2 * tokens * text.hidden_size * FLOAT32
    if plan.trained == "full":
        # Gradient of the output layer, before it is accumulated.
        own += text.vocab_size * text.hidden_size * FLOAT32
    if not plan.whole_vocabulary:
        return own + _TILE_COPIES * _tile(plan, tokens, text.vocab_size)
    # Further updates reuse the teacher's hidden states of the whole batch.
    rows = plan.sequences_a_gpu if plan.updates > 1 else plan.micro_batch
    states = rows * plan.max_response_tokens * models.teacher.text.hidden_size * compute_bytes(plan)
    token = text.vocab_size * FLOAT32
    strip = min(tokens, max(1, _tiles(plan).strip_bytes // token))
    # One strip of logits per model. If there are several, the previous two are freed only after both new ones exist.
    strips = 2 if strip == tokens else 4
    return own + states + strips * strip * token + _STRIP_COPIES * _tile(plan, strip, text.vocab_size)


def _tile(plan: PlanInput, tokens: int, vocabulary: int) -> int:
    tiles = _tiles(plan)
    return min(tiles.tokens, tokens) * min(tiles.width(tokens), vocabulary) * FLOAT32


def _tiles(plan: PlanInput) -> TileSizes:
    return TileSizes.suited_to(torch.device(plan.device))
