"""Activation memory of one GPU: what the text backbone, cue recovery and the vision tower save for the backward pass, and their peak.

The estimates combine the footprints of single layers (``vicur.planning.footprint``) and assume that every sequence has the longest prompt
and the longest response of the plan.
"""

from __future__ import annotations

import torch

from vicur.planning.architecture import Architecture
from vicur.planning.footprint import (
    Precision,
    decoder_layer_footprint,
    norm_footprint,
    recovery_footprint,
    vision_block_footprint,
    vision_merger_footprint,
)
from vicur.planning.inputs import PlanInput
from vicur.planning.model import Models, student_precision

_FLOAT32 = torch.float32.itemsize
_INT64 = torch.int64.itemsize


def text_activations(plan: PlanInput, models: Models) -> tuple[int, int]:
    """Return the bytes that the text backbone and cue recovery save for the backward pass of a micro-batch, and the extra bytes at the
    peak of that backward pass."""
    text, rows = models.student.text, plan.micro_batch
    tokens = plan.max_prompt_tokens + plan.max_response_tokens
    precision = student_precision(plan)
    layer = decoder_layer_footprint(text, rows, tokens, precision, trained=plan.trained == "full")
    states = rows * tokens * text.hidden_size * precision.state_bytes
    layers = text.num_hidden_layers
    # Gradient checkpointing saves only the input of each layer and recomputes one layer at a time.
    saved = layers * (states if plan.gradient_checkpointing else layer.saved)
    extra = layer.backward_peak if plan.gradient_checkpointing else layer.backward_extra
    if plan.recovery is not None and plan.visual_tokens:
        module = recovery_footprint(
            text.hidden_size,
            plan.recovery.num_heads or text.num_attention_heads,
            rows,
            tokens,
            plan.visual_tokens,
            precision,
        )
        # The module's output replaces the hidden states that the next layer would otherwise save as its input.
        saved += len(plan.recovery.layers(layers)) * (module.saved - states)
        extra = max(extra, module.backward_extra)
    # Embeddings, the last norm, and cos/sin of the rotary embedding. Deepstack additions replace the states that they are added to.
    saved += states + norm_footprint(text, rows, tokens, precision).saved
    saved += 2 * rows * tokens * models.student.head_dim * precision.state_bytes
    return saved + fixed_bytes(rows, tokens), extra


def vision_activations(plan: PlanInput, models: Models) -> tuple[int, int]:
    """Return the bytes that a trained vision tower saves for the backward pass, and the extra bytes at the peak of that backward pass.

    Both are 0 if the tower is frozen.
    """
    if not (plan.train_vision and plan.visual_tokens):
        return 0, 0
    # Images are encoded once a step and shared by rollout and update, so the graph of every image lives from the rollout to the update.
    vision, precision, images = models.student.vision, student_precision(plan), step_images(plan)
    patches = plan.visual_tokens * vision.spatial_merge_size**2
    block = vision_block_footprint(vision, images, patches, precision)
    merger = vision_merger_footprint(vision, images, patches, precision)
    mergers = 1 + len(vision.deepstack_visual_indexes)
    states = images * patches * vision.hidden_size * precision.state_bytes
    blocks = vision.depth * (states if plan.gradient_checkpointing else block.saved)
    extra = block.backward_peak if plan.gradient_checkpointing else block.backward_extra
    # 2 * states: the patch embeddings before and after the position embeddings are added.
    return blocks + mergers * merger.saved + 2 * states + _pixels(models.student, images * patches), extra


def encoding(plan: PlanInput, model: Architecture, precision: Precision) -> int:
    """Return the peak bytes of encoding the images of a step without a graph."""
    return encoding_of(plan, model, precision, step_images(plan))


def encoding_of(plan: PlanInput, model: Architecture, precision: Precision, images: int) -> int:
    """Return the peak bytes of encoding ``images`` images at once without a graph."""
    if not plan.visual_tokens:
        return 0
    vision = model.vision
    patches = plan.visual_tokens * vision.spatial_merge_size**2
    block = vision_block_footprint(vision, images, patches, precision, trained=False)
    states = images * patches * vision.hidden_size * precision.state_bytes
    return block.forward_peak + states + _pixels(model, images * patches)


def step_images(plan: PlanInput) -> int:
    """Return how many images one GPU encodes in a step. Rollouts of the same prompt share its image."""
    return -(-plan.sequences_a_gpu // plan.rollouts)


def fixed_bytes(rows: int, tokens: int) -> int:
    """Return the bytes of the inputs that all layers share: ids, token types, positions and the boolean attention mask."""
    return 6 * _INT64 * rows * tokens + rows * tokens**2


def _pixels(model: Architecture, patches: int) -> int:
    return patches * model.patch_values * _FLOAT32
