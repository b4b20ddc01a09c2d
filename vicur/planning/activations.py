"""Activations of a GPU: what text backbone, cue recovery and vision tower keep for the backward, and what they take at their height.

Built from the footprints of single layers (``vicur.planning.footprint``); every sequence has the plan's longest prompt and response.
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
    """Bytes that the text backbone and cue recovery keep between forward and backward of a micro-batch, and what the backward of one layer
    takes on top.

    Kept is what autograd saves, layer by layer, or, with gradient checkpointing, a layer's input alone; embeddings and the last norm
    beside.
    """
    text, rows = models.student.text, plan.micro_batch
    tokens = plan.max_prompt_tokens + plan.max_response_tokens
    precision = student_precision(plan)
    layer = decoder_layer_footprint(text, rows, tokens, precision, trained=plan.trained == "full")
    states = rows * tokens * text.hidden_size * precision.state_bytes
    layers = text.num_hidden_layers
    saved = layers * (states if plan.gradient_checkpointing else layer.kept)
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
        # The states with updated sinks take the place of those before.
        saved += len(plan.recovery.layers(layers)) * (module.kept - states)
        extra = max(extra, module.backward_extra)
    # Embeddings, the last norm and the angles of the rotary embedding; deepstack additions take the place of the states before.
    saved += states + norm_footprint(text, rows, tokens, precision).kept
    saved += 2 * rows * tokens * models.student.head_dim * precision.state_bytes
    return saved + fixed_bytes(rows, tokens), extra


def vision_activations(plan: PlanInput, models: Models) -> tuple[int, int]:
    """Bytes that a trained tower keeps for the backward, and what the backward of one block takes on top; nothing for a frozen tower.

    An image is encoded once a step, for the rollout and the update alike: the graph of all images of a GPU's share is there from the
    first phase to the update.
    """
    if not (plan.train_vision and plan.visual_tokens):
        return 0, 0
    vision, precision, images = models.student.vision, student_precision(plan), step_images(plan)
    patches = plan.visual_tokens * vision.spatial_merge_size**2
    block = vision_block_footprint(vision, images, patches, precision)
    merger = vision_merger_footprint(vision, images, patches, precision)
    mergers = 1 + len(vision.deepstack_visual_indexes)
    states = images * patches * vision.hidden_size * precision.state_bytes
    blocks = vision.depth * (states if plan.gradient_checkpointing else block.kept)
    extra = block.backward_peak if plan.gradient_checkpointing else block.backward_extra
    # Beside blocks and mergers: the embedded patches before and after positions are added, and the pixels.
    return blocks + mergers * merger.kept + 2 * states + _pixels(models.student, images * patches), extra


def encoding(plan: PlanInput, model: Architecture, precision: Precision) -> int:
    """A pass of the vision tower over the step's images, without graph, at its height."""
    if not plan.visual_tokens:
        return 0
    vision, images = model.vision, step_images(plan)
    patches = plan.visual_tokens * vision.spatial_merge_size**2
    block = vision_block_footprint(vision, images, patches, precision, trained=False)
    states = images * patches * vision.hidden_size * precision.state_bytes
    return block.forward_peak + states + _pixels(model, images * patches)


def step_images(plan: PlanInput) -> int:
    """Images of a GPU's share of a step, which are encoded in one pass; rollouts of one prompt share its image."""
    return -(-plan.sequences_a_gpu // plan.rollouts)


def fixed_bytes(rows: int, tokens: int) -> int:
    """Ids, types, positions and the boolean mask that all layers share."""
    return 6 * _INT64 * rows * tokens + rows * tokens**2


def _pixels(model: Architecture, patches: int) -> int:
    return patches * model.patch_numbers * _FLOAT32
