"""Derive the inputs of a plan from a run's configuration, and the arguments that change them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from vicur.config.methods import MethodName
from vicur.config.placement import PlacedEngine
from vicur.config.run import RunConfig
from vicur.config.sources import Sources
from vicur.config.teacher import NoTeacher, OtherCheckpoint, SelfAdapterOff, SelfEma, SelfFrozen, TeacherConfig
from vicur.config.trained import Lora
from vicur.config.validation import validated
from vicur.config.video import VideoConfig
from vicur.errors import VicurError
from vicur.planning.inputs import PlanInput

# Fields of PlanInput that are set by an option of the command or by a setting of the run. All others are set with --assume.
_OPTIONS = ("gpus",)
_SETTINGS = {
    "micro_batch_size": "training.micro_batch_size",
    "rollout_batch_size": "training.rollout_batch_size",
    "max_response_tokens": "training.rollout.max_new_tokens",
    "strategy": "training.distribution.strategy",
    "mixed_precision": "training.mixed_precision",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "save_dtype": "training.save_dtype",
    "train_vision": "training.trained.vision",
    "trained": "training.trained.type",
    "evaluation_batch_size": "evaluation.batch_size",
    "rollout_tensor_parallel": "training.rollout.engine.tensor_parallel",
    "teacher_tensor_parallel": "training.teacher.engine.tensor_parallel",
}


def plan_input(
    config: RunConfig,
    method: MethodName,
    *,
    assumed: Mapping[str, Any] | None = None,
    hardware: Mapping[str, Any] | None = None,
    where: str | Sources = "vicur plan",
) -> PlanInput:
    """Return the plan's inputs for training one method of a run.

    Args:
        config: the run's configuration.
        method: the method to plan for.
        assumed: fields of :class:`PlanInput` that the configuration does not have or that override its values.
        hardware: fields of :class:`Hardware`.
        where: source of ``assumed`` and ``hardware`` in error messages.

    Raises:
        VicurError: if a field is unknown or invalid, or if fields contradict each other.
    """
    # Imports the libraries that read datasets, and models.
    from vicur.data.sources import source_of
    from vicur.planning.architecture import architecture_of

    training, data = config.training.for_method(method), config.data
    chosen = training.effective
    fields: dict[str, Any] = {
        "student": config.base.path,
        "recovery": training.recovery.module if chosen.recovery else None,
        "trained": training.trained.type,
        "train_vision": training.trained.vision,
        **_teacher_fields(chosen.teacher),
        "steps": training.steps,
        "batch_size": training.batch_size,
        "rollouts": training.responses_per_prompt,
        "updates": training.updates_per_batch,
        "staleness": training.staleness,
        "objective": chosen.objective.type,
        "max_prompt_tokens": training.max_prompt_tokens,
        "max_response_tokens": training.rollout.max_new_tokens,
        "strategy": training.distribution.strategy,
        "mixed_precision": training.mixed_precision,
        "gradient_checkpointing": training.gradient_checkpointing,
        "save_dtype": training.save_dtype,
        "micro_batch_size": training.micro_batch_size,
        "rollout_batch_size": training.rollout_batch_size,
        "validate_every": training.validate_every,
        "validation_examples": training.validation_examples,
        "feature_cache": training.features.memory_gb,
        "evaluation_batch_size": config.evaluation.batch_size,
        "evaluation_response_tokens": config.evaluation.sampling.max_new_tokens,
        **_engine_fields(training.engines),
        "hardware": dict(hardware or {}),
    }
    if isinstance(training.trained, Lora):
        fields["lora_rank"] = training.trained.rank
    largest = [config.data.pixels.of(use).max for use in ("student", "teacher")]
    video = getattr(data, "video", VideoConfig())
    if (any(largest) or video != VideoConfig()) and "image_tokens" not in (assumed or {}):
        student = architecture_of((assumed or {}).get("student", config.base.path))
        pixels = max(n or 0 for n in largest)
        if video != VideoConfig():
            # Two frames become one group of visual tokens.
            pixels = min(video.pixels, pixels * video.max_frames or video.pixels) // 2
        fields["image_tokens"] = pixels // student.pixels_per_token
    if (examples := source_of(data).training_examples(data)) is not None:
        fields["examples"] = examples
    fields |= assumed or {}
    if training.distribution.teacher_devices == "separate" and not fields.get("teacher_gpus"):
        fields |= _halves(fields.get("gpus", 1), where)
    plan: PlanInput = validated(PlanInput, fields, where)
    return plan


def _halves(gpus: Any, where: str | Sources) -> dict[str, int]:
    """Give student and teacher one half of the GPUs each, as ``training.distribution.teacher_devices: separate`` does."""
    if not isinstance(gpus, int) or gpus < 2 or gpus % 2:
        raise VicurError(
            f"training.distribution.teacher_devices is separate, which needs an even number of GPUs, but there are {gpus}: one half holds "
            "the student, the other the teacher.",
            where="--gpus" if isinstance(where, Sources) else where,
            remedy="Give the number of all GPUs (of one machine, an even number), or set teacher_devices to shared.",
        )
    return {"gpus": gpus // 2, "teacher_gpus": gpus // 2}


def _engine_fields(engines: Mapping[str, PlacedEngine]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for part, engine in engines.items():
        kind = "inside" if engine.placement == "process" else "server"
        fields |= {f"{part}_engine": kind, f"{part}_cache_gb": engine.settings.cache_gb}
        if engine.placement != "url":
            fields[f"{part}_tensor_parallel"] = engine.settings.tensor_parallel
        if engine.placement == "job":
            fields[f"{part}_servers"] = engine.settings.replicas
    if "rollout" in engines:
        settings = engines["rollout"].settings
        fields |= {"rollout_sleeps": settings.sleep, "bucket_mb": settings.bucket_mb}
    return fields


def _teacher_fields(teacher: TeacherConfig) -> dict[str, Any]:
    match teacher:
        case SelfFrozen():
            return {"teacher": "frozen"}
        case SelfEma():
            return {"teacher": "ema"}
        case SelfAdapterOff():
            return {"teacher": "adapter_off"}
        case OtherCheckpoint():
            return {"teacher": "checkpoint", "teacher_model": teacher.path}
        case NoTeacher():
            return {"teacher": "none"}
        case _:
            assert_never(teacher)


def setting(field: str, value: Any) -> str:
    """Return the command-line arguments that set a field of :class:`PlanInput`."""
    shown = str(value).lower() if isinstance(value, bool) else value
    if field == "teacher_gpus":
        # The option --gpus counts the GPUs of both.
        return f"--set training.distribution.teacher_devices=separate --gpus {2 * value}"
    if field in _OPTIONS:
        return f"--{field.replace('_', '-')} {shown}"
    if field in _SETTINGS:
        return f"--set {_SETTINGS[field]}={shown}"
    return f"--assume {field}={shown}"
