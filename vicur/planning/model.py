"""Models of a plan: architectures, parameter counts, and the dtypes in which weights are stored and computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch

from vicur.planning.architecture import Architecture, architecture_of
from vicur.planning.footprint import Precision
from vicur.planning.inputs import PlanInput
from vicur.planning.sizes import Sizes, model_sizes

_FLOAT32 = torch.float32.itemsize
_BFLOAT16 = torch.bfloat16.itemsize


@dataclass(frozen=True, eq=False)
class Models:
    """Student and teacher of a plan."""

    student: Architecture
    sizes: Sizes  # of the student
    teacher: Architecture  # the student's, unless the teacher is another checkpoint
    teacher_sizes: Sizes | None  # None without a teacher


def models_of(plan: PlanInput) -> Models:
    """Count the parameters of the plan's models.

    Raises:
        VicurError: if the architecture of a model is not known.
    """
    student = architecture_of(plan.student)
    sizes = model_sizes(student.config, plan.recovery)
    match plan.teacher:
        case "none":
            return Models(student, sizes, student, None)
        case "ema" | "adapter_off":
            return Models(student, sizes, student, sizes)
        case "frozen" | "checkpoint":
            teacher = student if plan.teacher_model is None else architecture_of(plan.teacher_model)
            return Models(student, sizes, teacher, model_sizes(teacher.config, None))
        case _:
            assert_never(plan.teacher)


def trained_parameters(plan: PlanInput, sizes: Sizes) -> int:
    """Return the number of parameters that the optimizer updates."""
    match plan.trained:
        case "full":
            text, vision = sizes.total - sizes.vision - sizes.recovery, sizes.vision
        case "lora":
            text, vision = plan.lora_rank * sizes.lora_rank_1, plan.lora_rank * sizes.vision_lora_rank_1
        case "recovery":
            text, vision = 0, 0
        case _:
            assert_never(plan.trained)
    return text + (vision if plan.train_vision else 0) + sizes.recovery


def frozen_parameters(plan: PlanInput, sizes: Sizes) -> int:
    """Return the number of parameters of the student without gradient and optimizer state."""
    if plan.trained == "full":
        return 0 if plan.train_vision else sizes.vision
    return sizes.total - sizes.recovery


def compute_bytes(plan: PlanInput) -> int:
    """Return the bytes per element of the compute dtype."""
    return _BFLOAT16 if plan.mixed_precision == "bf16" else _FLOAT32


def student_precision(plan: PlanInput) -> Precision:
    """Return the dtypes of the student's forward pass in training."""
    if plan.mixed_precision == "none":
        return Precision(torch.float32)
    # Autocast applies only to float32 weights. Frozen weights are bfloat16 (LoRA adapters are too small to matter), and FSDP gathers
    # bfloat16.
    cast = plan.trained == "full" and not plan.sharded
    return Precision(torch.float32, autocast=True) if cast else Precision(torch.bfloat16)


def frozen_precision(plan: PlanInput) -> Precision:
    """Return the dtypes of a frozen model, which is stored in its compute dtype."""
    return Precision(torch.bfloat16 if plan.mixed_precision == "bf16" else torch.float32)


def saved_precision(plan: PlanInput, model: Architecture) -> Precision:
    """Return the dtype in which a student is saved, and evaluated: ``save_dtype`` or, if unset, the base's under ``bf16``, else float32."""
    if plan.save_dtype is not None:
        return Precision(torch.float32 if plan.save_dtype == "float32" else torch.bfloat16)
    if plan.mixed_precision == "none":
        return Precision(torch.float32)
    # Published models are bfloat16.
    dtype = model.config.dtype
    return Precision(dtype if isinstance(dtype, torch.dtype) else torch.bfloat16)
