"""What a plan knows of the models: their configurations, their sizes, and which weights are held in which type."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vicur.planning.architecture import Architecture, architecture_of
from vicur.planning.footprint import Precision
from vicur.planning.inputs import PlanInput
from vicur.planning.sizes import Sizes, model_sizes

_FLOAT32 = torch.float32.itemsize
_BFLOAT16 = torch.bfloat16.itemsize


@dataclass(frozen=True, eq=False)
class Models:
    """Student and teacher of a plan.

    Attributes:
        student: the student's backbone.
        sizes: the student's parameters.
        teacher: the teacher's backbone; the student's own where it is one.
        teacher_sizes: the teacher's parameters; ``None`` where nobody teaches.
    """

    student: Architecture
    sizes: Sizes
    teacher: Architecture
    teacher_sizes: Sizes | None


def models_of(plan: PlanInput) -> Models:
    """Builds the plan's models on the meta device.

    Raises:
        VicurError: where a model is not known.
    """
    student = architecture_of(plan.student)
    sizes = model_sizes(student.config, plan.recovery)
    if plan.teacher == "none":
        return Models(student, sizes, student, None)
    if plan.teacher in ("ema", "adapter_off"):
        return Models(student, sizes, student, sizes)
    teacher = student if plan.teacher_model is None else architecture_of(plan.teacher_model)
    return Models(student, sizes, teacher, model_sizes(teacher.config, None))


def trained_parameters(plan: PlanInput, sizes: Sizes) -> int:
    """Parameters that the optimizer updates."""
    text, vision = 0, 0
    if plan.trained == "full":
        text, vision = sizes.total - sizes.vision - sizes.recovery, sizes.vision
    elif plan.trained == "lora":
        text, vision = plan.lora_rank * sizes.lora_rank_1, plan.lora_rank * sizes.vision_lora_rank_1
    return text + (vision if plan.train_vision else 0) + sizes.recovery


def frozen_parameters(plan: PlanInput, sizes: Sizes) -> int:
    """The student's other parameters, which are held without gradient and optimizer state."""
    if plan.trained == "full":
        return 0 if plan.train_vision else sizes.vision
    return sizes.total - sizes.recovery


def compute_bytes(plan: PlanInput) -> int:
    """Bytes of a number in the type that the plan computes in."""
    return _BFLOAT16 if plan.mixed_precision == "bf16" else _FLOAT32


def student_precision(plan: PlanInput) -> Precision:
    """Types of the student's training forward: bfloat16 is autocast over float32 weights, or what ``fsdp`` gathers."""
    if plan.mixed_precision == "none":
        return Precision(torch.float32)
    # Frozen weights are held in bfloat16; updates beside them change nothing that counts.
    cast = plan.trained == "full" and not plan.sharded
    return Precision(torch.float32, autocast=True) if cast else Precision(torch.bfloat16)


def frozen_precision(plan: PlanInput) -> Precision:
    """Types of a frozen model's forward: it is held in the type that it computes in."""
    return Precision(torch.bfloat16 if plan.mixed_precision == "bf16" else torch.float32)
