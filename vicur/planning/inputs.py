"""What a plan is made from: one typed model, and the one function that fills it from a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from vicur.config.data import DigitScenesConfig
from vicur.config.methods import MethodName
from vicur.config.recovery import CueRecoverySettings
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.teacher import OtherCheckpoint
from vicur.config.trained import Lora
from vicur.config.validation import validated

# Where a field of the plan's input comes from: an option of the command, or a setting of the run. The others are assumed.
_OPTIONS = ("gpus", "teacher_gpus")
_SETTINGS = {
    "micro_batch_size": "training.micro_batch_size",
    "rollout_batch_size": "training.rollout_batch_size",
    "max_response_tokens": "training.rollout.max_new_tokens",
    "strategy": "training.distribution.strategy",
    "mixed_precision": "training.mixed_precision",
    "gradient_checkpointing": "training.gradient_checkpointing",
    "train_vision": "training.trained.vision",
    "trained": "training.trained.type",
}
_TEACHERS = {
    "self-frozen": "frozen",
    "self-ema": "ema",
    "self-adapter-off": "adapter_off",
    "checkpoint": "checkpoint",
    "none": "none",
}


class Hardware(Section):
    """The GPUs, and how well they are used. The defaults are one NVIDIA H100 SXM and cautious shares of what it can do."""

    gpu_memory: float = Field(default=80.0, gt=0)
    """Memory of a GPU in GiB."""
    headroom: float = Field(default=0.1, ge=0, lt=1)
    """Share of it that is left alone: the CUDA context, communication buffers, kernels' workspaces, fragmentation."""
    peak_tflops: float = Field(default=989.0, gt=0)
    """Dense bfloat16 operations a second, in 10^12. H100 and H200: 989; A100: 312."""
    float32_share: float = Field(default=0.07, gt=0, le=1)
    """Rate in float32 against that in bfloat16: 67 of 989 on an H100, since torch takes no TF32 unless told to."""
    bandwidth: float = Field(default=3.35, gt=0)
    """Memory bandwidth in TB/s. H100 SXM: 3.35; H200: 4.8; A100 80 GB: 2.04."""
    interconnect: float = Field(default=0.3, gt=0)
    """Bandwidth between GPUs, one way, in TB/s."""
    utilisation: float = Field(default=0.4, gt=0, le=1)
    """Share of ``peak_tflops`` that forward and backward, scoring and prefill reach."""
    bandwidth_utilisation: float = Field(default=0.6, gt=0, le=1)
    """Share of ``bandwidth`` that decoding and the optimizer reach."""
    decode_overhead_ms: float = Field(default=25.0, ge=0)
    """What a decoding step takes at least, in ms: without compiled graphs, Python and kernel launches outweigh the memory traffic of
    a small model. An estimate: measure yours."""


class PlanInput(Section):
    """Everything that a plan depends on."""

    student: str
    """Backbone: a published size ("8B"), ``tiny``, or a checkpoint's folder."""
    recovery: CueRecoverySettings | None = None
    """The student's cue recovery module, if it has one."""
    trained: Literal["full", "lora", "recovery"] = "full"
    """What of the backbone is trained: all of it, low-rank updates of its projections, or nothing but cue recovery, which always is."""
    lora_rank: int = Field(default=16, ge=1)
    """Rank of the updates. All projections of the decoder layers are taken to have one."""
    train_vision: bool = True
    """Whether the vision tower is trained too, or has low-rank updates too."""
    teacher: Literal["frozen", "ema", "adapter_off", "checkpoint", "none"] = "frozen"
    """Who scores: a frozen copy of the student's backbone, a moving average of the student, the student with updates and cue recovery off,
    another checkpoint, or nobody (grpo, sft)."""
    teacher_model: str | None = None
    """The other checkpoint, named as ``student`` is."""

    steps: int = Field(ge=1)
    """Batches that the student learns from."""
    batch_size: int = Field(ge=1)
    """Prompts a step, on all GPUs together."""
    rollouts: int = Field(default=1, ge=1)
    """Rollouts a prompt."""
    updates: int = Field(default=1, ge=1)
    """Updates a step."""
    examples: int | None = Field(default=None, ge=1)
    """Examples that students are distilled on; left out, epochs are not told."""
    objective: str = "k1"
    """The training objective, by its type. ``forward_kl``, ``reverse_kl`` and ``jsd`` compare whole distributions, the others some
    log-probabilities a token; ``supervised`` needs no rollouts."""
    max_prompt_tokens: int = Field(ge=1)
    """Longest prompt, its visual tokens included."""
    max_response_tokens: int = Field(ge=1)
    """Longest response."""
    mean_prompt_tokens: int | None = Field(default=None, ge=1)
    """Mean length of a prompt, for time; left out, half of the longest. Memory is always that of the longest."""
    mean_response_tokens: int | None = Field(default=None, ge=1)
    """Mean length of a response, for time; left out, half of the longest. Memory is always that of the longest."""
    image_tokens: int = Field(default=392, ge=0)
    """Visual tokens of a prompt, never more than the longest prompt has. 392 is an image of 401,408 pixels, the paper's largest in
    evaluation."""
    validate_every: int = Field(default=20, ge=1)
    """Steps between validations."""
    validation_examples: int = Field(default=300, ge=0)
    """Questions of a validation."""

    gpus: int = Field(default=1, ge=1)
    """GPUs of the student."""
    teacher_gpus: int = Field(default=0, ge=0)
    """GPUs that hold the teacher alone, one for each of the student's; 0 puts it beside the student."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """How several GPUs share: each holds everything (``ddp``), or weights, gradients and optimizer state are cut in parts (``fsdp``)."""
    mixed_precision: Literal["none", "bf16"] = "none"
    """``bf16`` computes in bfloat16 over float32 weights, gradients and optimizer state; ``none`` computes in float32."""
    gradient_checkpointing: bool = False
    """Whether a layer's activations are computed again in the backward rather than kept."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Rollouts of a GPU that are scored and trained on at once; left out, all of its share of the batch."""
    rollout_batch_size: int | None = Field(default=None, ge=1)
    """Responses of a GPU that are drawn at once; left out, all of its share of the batch."""
    feature_cache: float = Field(default=1.0, ge=0)
    """Most that remembered image features of a frozen tower take, in GiB."""
    vllm_inside: bool = False
    """Whether vLLM runs inside the training, for rollouts or a teacher. What it takes is not counted, nor is its speed; a plan says so."""

    hardware: Hardware = Hardware()
    """The GPUs."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.teacher == "checkpoint") != (self.teacher_model is not None):
            raise ValueError("teacher 'checkpoint' and teacher_model go together: give both or neither")
        if self.teacher == "adapter_off" and self.trained == "full":
            raise ValueError("teacher 'adapter_off' needs a frozen backbone: set trained to 'lora' or 'recovery'")
        if self.teacher_gpus and self.teacher not in ("frozen", "checkpoint"):
            raise ValueError(
                f"teacher {self.teacher!r} has no weights of its own to put on other GPUs: set teacher_gpus to 0"
            )
        if self.teacher_gpus not in (0, self.gpus):
            raise ValueError(
                f"each process has a GPU for its student and one for its teacher: set teacher_gpus to {self.gpus} or 0"
            )
        if self.trained == "recovery" and self.recovery is None:
            raise ValueError("trained 'recovery' needs a method with cue recovery")
        for mean, most in (
            ("mean_prompt_tokens", "max_prompt_tokens"),
            ("mean_response_tokens", "max_response_tokens"),
        ):
            value = getattr(self, mean)
            if value is not None and value > getattr(self, most):
                raise ValueError(f"{mean} = {value} is above {most} = {getattr(self, most)}")
        return self

    @property
    def sequences(self) -> int:
        """Rollouts of a step, on all GPUs together."""
        return self.batch_size * self.rollouts

    @property
    def sequences_a_gpu(self) -> int:
        """Rollouts of a step on the GPU that has most of them."""
        return -(-self.sequences // self.gpus)

    @property
    def micro_batch(self) -> int:
        """Rollouts that a GPU trains on at once."""
        return min(self.micro_batch_size or self.sequences_a_gpu, self.sequences_a_gpu)

    @property
    def rollout_batch(self) -> int:
        """Prompts that a GPU answers at once."""
        return min(self.rollout_batch_size or self.sequences_a_gpu, self.sequences_a_gpu)

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of a prompt."""
        return min(self.image_tokens, self.max_prompt_tokens)

    @property
    def whole_vocabulary(self) -> bool:
        """Whether the objective compares whole distributions."""
        return self.objective in ("forward_kl", "reverse_kl", "jsd")

    @property
    def on_policy(self) -> bool:
        """Whether the student learns from its own responses."""
        return self.objective != "supervised"

    @property
    def sharded(self) -> bool:
        """Whether the state is cut over several GPUs."""
        return self.strategy == "fsdp" and self.gpus > 1


def plan_input(
    config: RunConfig,
    method: MethodName,
    *,
    assumed: Mapping[str, Any] | None = None,
    hardware: Mapping[str, Any] | None = None,
) -> PlanInput:
    """The plan's input for training one method of a run: the only place that reads a run's configuration.

    Args:
        config: the run.
        method: which of its methods.
        assumed: fields of :class:`PlanInput` that the configuration does not hold, or to be taken instead of its own.
        hardware: fields of :class:`Hardware`.

    Raises:
        VicurError: where a field is unknown or wrong, or they do not go together.
    """
    training, data = config.training.for_method(method), config.data
    chosen = training.effective
    fields: dict[str, Any] = {
        "student": config.base.path,
        "recovery": training.recovery.module if chosen.recovery else None,
        "trained": training.trained.type,
        "train_vision": training.trained.vision,
        "teacher": _TEACHERS[chosen.teacher.type],
        "steps": training.steps,
        "batch_size": training.batch_size,
        "rollouts": training.responses_per_prompt,
        "updates": training.updates_per_batch,
        "objective": chosen.objective.type,
        "max_prompt_tokens": training.max_prompt_tokens,
        "max_response_tokens": training.rollout.max_new_tokens,
        "strategy": training.distribution.strategy,
        "mixed_precision": training.mixed_precision,
        "gradient_checkpointing": training.gradient_checkpointing,
        "micro_batch_size": training.micro_batch_size,
        "rollout_batch_size": training.rollout_batch_size,
        "validate_every": training.validate_every,
        "validation_examples": training.validation_examples,
        "vllm_inside": any(engine.placement == "inside" for engine in training.engines.values()),
        "hardware": dict(hardware or {}),
    }
    if isinstance(training.trained, Lora):
        fields["lora_rank"] = training.trained.rank
    if isinstance(chosen.teacher, OtherCheckpoint):
        fields["teacher_model"] = str(chosen.teacher.folder)
    if isinstance(data, DigitScenesConfig):
        fields["examples"] = data.distill.scenes * data.distill.questions
    made: PlanInput = validated(PlanInput, {**fields, **(assumed or {})}, "the plan")
    return made


def setting(field: str, value: Any) -> str:
    """How a field of the plan's input is set on the command line."""
    shown = str(value).lower() if isinstance(value, bool) else value
    if field in _OPTIONS:
        return f"--{field.replace('_', '-')} {shown}"
    if field in _SETTINGS:
        return f"--set {_SETTINGS[field]}={shown}"
    return f"--assume {field}={shown}"
