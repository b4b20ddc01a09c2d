"""Memory of a GPU that is allocated in every phase: weights, optimizer state, teacher, feature caches, vLLM in the process.

Also the copies of weights that passes need: casts under autocast, and layers that FSDP2 gathers.
"""

from __future__ import annotations

import torch
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

from vicur.planning.activations import step_images
from vicur.planning.footprint import Precision
from vicur.planning.inputs import PlanInput
from vicur.planning.model import (
    Models,
    compute_bytes,
    frozen_parameters,
    student_precision,
    trained_parameters,
)
from vicur.planning.parts import Part
from vicur.planning.sizes import Sizes

FLOAT32 = torch.float32.itemsize
GB = 10**9
_ADAM_STATES = 2
_LAYERS_GATHERED = 2
# Tokens of a forward pass of vLLM, which it reserves activations for (scoring_arguments of serving/).
_VLLM_TOKENS = 8192
# Values per token at the peak of a decoder layer in vLLM: gate, up and their product, and the hidden states with their copies.
_VLLM_INTERMEDIATE, _VLLM_HIDDEN = 3, 8


def state_bytes(plan: PlanInput, sizes: Sizes) -> dict[Part, int]:
    """Return the bytes of one full copy of the student's weights, gradients and AdamW state.

    Trained weights are float32, frozen ones are held in the compute dtype.
    """
    trained = FLOAT32 * trained_parameters(plan, sizes)
    return {
        Part.WEIGHTS: trained + compute_bytes(plan) * frozen_parameters(plan, sizes),
        Part.GRADIENTS: trained,
        Part.OPTIMIZER: _ADAM_STATES * trained,
    }


def resident(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Return the bytes that are allocated on a GPU of the student in every phase of a step."""
    shards, state = shards_of(plan), state_bytes(plan, models.sizes)
    # A frozen vision tower is not sharded, neither the student's nor a fixed teacher's: each GPU encodes whenever it needs to.
    own_tower = 0 if plan.train_vision else compute_bytes(plan) * models.sizes.vision
    return {
        Part.WEIGHTS: (state[Part.WEIGHTS] - own_tower) // shards + own_tower,
        Part.GRADIENTS: held_gradients(plan, models.sizes),
        Part.OPTIMIZER: state[Part.OPTIMIZER] // shards,
        Part.EMA if plan.teacher == "ema" else Part.TEACHER: _held_teacher(plan, models),
        Part.VLLM: engines(plan, models, awake=False),
        Part.FEATURES: cached_features(plan, models) + image_features(plan, models, step_images(plan)),
    }


def loading(plan: PlanInput, models: Models) -> dict[Part, int]:
    """Return the peak bytes of loading the models on a GPU of the student."""
    held = resident(plan, models)
    loaded: dict[Part, int] = {part: held[part] for part in (Part.WEIGHTS, Part.EMA, Part.TEACHER) if part in held}
    # Models that are sharded, and teachers, are loaded to the CPU or in the dtype in which they stay. A student on one GPU is loaded in
    # float32, and its frozen weights are cast there, before there is a teacher.
    whole: dict[Part, int] = {Part.WEIGHTS: FLOAT32 * models.sizes.total}
    return loaded if plan.sharded or sum(whole.values()) < sum(loaded.values()) else whole


def shards_of(plan: PlanInput) -> int:
    """Return over how many GPUs the weights are sharded."""
    return plan.gpus if plan.sharded else 1


def teacher_in_process(plan: PlanInput) -> bool:
    """Return whether the training process computes the teacher's scores itself."""
    return plan.teacher != "none" and plan.teacher_engine == "process"


def teacher_weights(plan: PlanInput, models: Models) -> int:
    """Return the bytes of one full copy of the teacher's weights, 0 if the training process holds none."""
    if models.teacher_sizes is None or plan.teacher == "adapter_off" or not teacher_in_process(plan):
        return 0
    if plan.teacher == "ema":
        # In the student's dtypes: bfloat16 would round small updates of the average to nothing.
        return state_bytes(plan, models.sizes)[Part.WEIGHTS]
    return models.teacher_sizes.total * compute_bytes(plan)


def held_gradients(plan: PlanInput, sizes: Sizes) -> int:
    """Return the bytes of the gradients that a GPU holds between passes."""
    gradients = state_bytes(plan, sizes)[Part.GRADIENTS]
    return gradients // plan.gpus if plan.sharded else gradients


def unsharded_gradients(plan: PlanInput, sizes: Sizes) -> int:
    """Return the bytes of full gradients before they are reduce-scattered, which happens in every micro-batch."""
    if not plan.sharded:
        return 0
    return compute_bytes(plan) * min(
        trained_parameters(plan, sizes), sizes.root + _LAYERS_GATHERED * sizes.largest_layer
    )


def copies(plan: PlanInput, sizes: Sizes) -> int:
    """Return the bytes of the additional copies of the student's weights in the compute dtype during a pass."""
    if student_precision(plan).autocast:
        # Autocast caches the cast weights of linear layers for the whole forward, and the graph holds them until the backward.
        return compute_bytes(plan) * (sizes.total - (sizes.embedding if sizes.head else 0))
    return gathered(plan, sizes, shards_of(plan))


def gathered(plan: PlanInput, sizes: Sizes, shards: int) -> int:
    """Return the bytes of the weights that are gathered at the same time during a pass over sharded layers."""
    if shards == 1:
        return 0
    return compute_bytes(plan) * min(sizes.total, sizes.root + _LAYERS_GATHERED * sizes.largest_layer)


def gathered_teacher_root(plan: PlanInput, models: Models) -> int:
    """Return the bytes of the root of a sharded teacher, which stays gathered because the loss reads its output layer."""
    if not plan.sharded or plan.teacher_gpus or not teacher_weights(plan, models):
        return 0
    assert models.teacher_sizes is not None
    return compute_bytes(plan) * (models.teacher_sizes.embedding + models.teacher_sizes.head)


def image_features(plan: PlanInput, models: Models, images: int) -> int:
    """Return the bytes of the features of ``images`` images in the compute dtype."""
    deepstack = len(models.student.vision.deepstack_visual_indexes)
    return images * plan.visual_tokens * models.student.text.hidden_size * (1 + deepstack) * compute_bytes(plan)


def feature_cache(plan: PlanInput, models: Models) -> int:
    """Return the bytes of a full cache of image features."""
    cache = int(plan.feature_cache * GB)
    return cache if plan.examples is None else min(cache, image_features(plan, models, plan.examples))


def teacher_has_own_features(plan: PlanInput) -> bool:
    """Return whether a teacher in the process encodes images with a tower that differs from the student's."""
    differs = plan.teacher == "checkpoint" or (plan.teacher in ("frozen", "adapter_off") and plan.train_vision)
    return differs and teacher_in_process(plan)


def _held_teacher(plan: PlanInput, models: Models) -> int:
    """Bytes of the teacher's weights on a GPU of the student."""
    weights = 0 if plan.teacher_gpus else teacher_weights(plan, models)
    if not weights or models.teacher_sizes is None:
        return 0
    # Only the moving average of a trained tower changes and is therefore sharded with the rest.
    whole = not plan.train_vision if plan.teacher == "ema" else True
    tower = compute_bytes(plan) * models.teacher_sizes.vision if whole else 0
    return (weights - tower) // shards_of(plan) + tower


def cached_features(plan: PlanInput, models: Models) -> int:
    """Return the bytes of the feature caches of frozen towers on a GPU of the student."""
    towers = (not plan.train_vision) + (teacher_has_own_features(plan) and not plan.teacher_gpus)
    return towers * feature_cache(plan, models)


def engines(plan: PlanInput, models: Models, *, awake: bool) -> int:
    """Return the bytes of vLLM engines in the training process: weights, KV cache and the activations of a forward pass.

    Args:
        awake: whether an engine that sleeps during updates has its memory.
    """
    total = 0
    if plan.rollout_engine == "inside" and (awake or not plan.rollout_sleeps):
        total += _engine(plan, models.student.text, models.sizes, plan.rollout_cache_gb, plan.rollout_tensor_parallel)
    if plan.teacher_engine == "inside" and models.teacher_sizes is not None:
        total += _engine(
            plan, models.teacher.text, models.teacher_sizes, plan.teacher_cache_gb, plan.teacher_tensor_parallel
        )
    return total


def _engine(plan: PlanInput, text: Qwen3VLTextConfig, sizes: Sizes, cache_gb: float, devices: int) -> int:
    # The devices of an engine divide the weights. Each has its own cache_gb.
    weights = sizes.total * compute_bytes(plan) // devices
    return int(weights + cache_gb * GB + engine_activations(plan, text, devices))


def engine_activations(plan: PlanInput, text: Qwen3VLTextConfig, devices: int) -> int:
    """Return the bytes of the activations of a forward pass of vLLM on each of its devices."""
    tokens = max(_VLLM_TOKENS, plan.max_prompt_tokens + plan.max_response_tokens)
    # The devices divide the values between the two matrices of a layer.
    width = _VLLM_INTERMEDIATE * text.intermediate_size // devices + _VLLM_HIDDEN * text.hidden_size
    return tokens * width * compute_bytes(plan)


def cache_bytes(precision: Precision, plan: PlanInput) -> tuple[int, int]:
    """Return the bytes of a number in cached keys and in values. Under autocast, the norm of the keys returns float32."""
    return FLOAT32 if precision.autocast else compute_bytes(plan), compute_bytes(plan)
