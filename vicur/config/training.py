"""The settings of a training.

A method sets ``privilege``, ``teacher``, ``recovery.enabled`` and ``objective`` (``vicur.config.methods``). Each can be replaced, whole:
``training.objective.type=grpo`` keeps no field of the method's own objective. :attr:`TrainConfig.effective` is the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.base import model_folder
from vicur.config.compatibility import require_compatible
from vicur.config.distribution import DistributionConfig
from vicur.config.features import FeatureCacheConfig
from vicur.config.methods import Method, MethodName, TeacherPrivilege, method_named
from vicur.config.objective import ObjectiveConfig
from vicur.config.placement import PlacedEngine
from vicur.config.prompts import PromptConfig, is_default
from vicur.config.recovery import RecoveryChoice
from vicur.config.rollout import NoCorrection, RolloutConfig, TruncatedRatio
from vicur.config.section import Section
from vicur.config.sources import Sources
from vicur.config.teacher import FrozenTeacherConfig, TeacherConfig
from vicur.config.trained import TrainedConfig, WholeModel
from vicur.config.validation import validated
from vicur.config.vllm import Vllm
from vicur.wording import did_you_mean

MASTERS = "float32"
"""Folder of a student with its float32 weights (``save_masters``), a checkpoint like that of the student itself."""
VALIDATION_BATCH = 128
"""Questions that a validation answers at once, unless ``rollout_batch_size`` is set. Fewer if a GPU has too little free memory."""


class TrainingConfig(Section):
    """Training settings shared by the methods of a run."""

    privilege: TeacherPrivilege | None = None
    """Content of the teacher's hint. Default: as the method says."""
    teacher: TeacherConfig | None = None
    """The model that scores the student's responses. Default: as the method says."""
    recovery: RecoveryChoice = RecoveryChoice(interval=2)
    """The student's cue recovery module."""
    objective: ObjectiveConfig | None = None
    """The loss. Default: as the method says."""
    trained: TrainedConfig = WholeModel()
    """The weights that are trained."""
    cue_of: Literal["own", "another"] = "own"
    """Whose cue the hint contains: the example's ``own`` or, as a control, a false one of ``another`` example with the same question."""
    bar_images: bool = False
    """Experimental control: the student's text cannot attend to the images, and sees them through the cue recovery module only."""
    per_method: dict[MethodName, dict[str, Any]] = Field(default_factory=dict)
    """Settings for one method of the run, which replace the shared ones: ``{grpo: {learning_rate: 1.0e-4}}``."""
    steps: int = Field(default=200, ge=1)
    """Maximum number of batches."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts a step, over all processes. Each gets one rollout, or a group of them under ``grpo``."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Responses that a process scores and back-propagates at once. It does not change the update. Default: its share of the batch."""
    updates_per_batch: int = Field(default=1, ge=1)
    """Updates on each batch, each with all of its responses. Above 1, ``k1`` and ``grpo`` clip PPO's ratio."""
    staleness: int = Field(default=0, ge=0, le=1, exclude_if=lambda staleness: staleness == 0)
    """Updates between the weights that sample a batch and those that train on it. With 1, servers sample the next batch while this one
    updates, and truncated importance weights correct for the older weights (``rollout.importance``)."""
    loss_reduction: Literal["sequence_mean", "token_mean"] = "sequence_mean"
    """Mean over responses of the mean over their tokens, as in the paper, or mean over all tokens of the batch, in which long responses
    weigh more."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps over which the learning rate rises linearly. It is constant afterwards."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay of matrices. Norms and biases do not decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm to which gradients are clipped."""
    rollout: RolloutConfig = RolloutConfig()
    """Sampling of rollouts. Their scores are always those of the distribution at temperature 1, so other temperatures are off policy."""
    rollout_batch_size: int | None = Field(default=None, ge=1)
    """Responses that a process samples at once. It does not change the responses. Default: its share of the batch."""
    features: FeatureCacheConfig = FeatureCacheConfig()
    """Cache for the image features of frozen vision towers."""
    validate_every: int = Field(default=20, ge=1)
    """Steps between validations."""
    validation_examples: int = Field(default=300, ge=1)
    """Maximum number of validation questions."""
    patience: int = Field(default=6, ge=1)
    """Stop after this many validations without a new best accuracy."""
    save_dtype: Literal["float32", "bfloat16", "stochastic"] | None = None
    """Type of the saved weights. ``stochastic`` is bfloat16 with stochastic rounding, which keeps small updates in expectation;
    ``bfloat16`` rounds to the nearest and loses most of them; ``float32`` keeps the trained weights as they are. Default: float32, or with
    mixed precision the base's type, ``stochastic`` if that is bfloat16."""
    save_masters: bool = Field(default=False, exclude_if=lambda masters: not masters)
    """Keep the float32 weights as well, as a checkpoint in the folder ``float32`` of a student that is saved in another type."""
    # A control with false hints is best before it has learned anything, so it needs the last weights.
    keep: Literal["best", "last"] = "best"
    """Save the weights with the ``best`` validation accuracy, or the ``last``."""
    checkpoint_every: int = Field(default=20, ge=1)
    """Steps between checkpoints."""
    checkpoint_minutes: float = Field(default=10, ge=0)
    """Minutes between further checkpoints, which take at most 2 % of the time; 0 or ``null`` for none by time."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of newest checkpoints to keep."""
    max_unhinted_share: float = Field(default=0.02, ge=0, le=1)
    """Share of distillation examples that may be skipped because they lack the hint, the reference or an image that the method needs."""
    max_prompt_tokens: int = Field(default=256, ge=1)
    """Longest prompt of teacher or student. Examples with longer prompts are skipped, and count for ``max_unhinted_share``."""
    distribution: DistributionConfig = DistributionConfig()
    """Processes and devices."""
    mixed_precision: Literal["none", "bf16"] = "none"
    """``bf16`` computes in bfloat16, with trained weights, gradients and optimizer state in float32. ``none`` computes in float32."""
    gradient_checkpointing: bool = False
    """Recompute a layer's activations in the backward pass instead of storing them: less memory, more time, the same update."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device: ``auto`` uses a GPU if there is one."""
    image_threads: int = Field(default=2, ge=0)
    """Threads of each process that decode the images of the next batch while a step computes; 0 decodes them when they are needed."""
    threads: int = Field(default=1, ge=0)
    """CPU threads of each training process; 0 for PyTorch's default. On few cores, parallel steps are faster than threads."""
    prompts: PromptConfig = Field(default=PromptConfig(), exclude_if=is_default)
    """Settings of prompts, from the section ``data``."""

    @field_validator("checkpoint_minutes", mode="before")
    @classmethod
    def _null_is_off(cls, minutes: Any) -> Any:
        # Kubeflow Pipelines cannot pass null to a step, so only 0 is stored.
        return 0 if minutes is None else minutes

    @field_validator("per_method")
    @classmethod
    def _has_known_settings(cls, per_method: dict[MethodName, dict[str, Any]]) -> dict[MethodName, dict[str, Any]]:
        known = TrainingConfig.model_fields.keys() - {"per_method", "prompts"}
        for name, settings in per_method.items():
            for setting in sorted(settings.keys() - known):
                raise ValueError(f"there is no setting {name}.{setting}.{did_you_mean(setting, known)}")
        return per_method

    def for_method(self, name: str) -> TrainConfig:
        """Return the settings of one method of the run.

        Raises:
            VicurError: if they are invalid or contradict each other.
        """
        # The shared settings are valid by themselves: what is wrong now was set for this method.
        sources = Sources("", within=f"training.per_method.{name}", options={"method": "--method"})
        config: TrainConfig = validated(TrainConfig, {**self.model_dump(), "method": name}, sources)
        return config


_VLLM_RESOURCES = {
    "cache_gb",
    "bucket_mb",
    "sleep",
    "url",
    "replicas",
    "tensor_parallel",
    "start_minutes",
    "exchange",
    "patience",
}
# Settings that change memory, time, place or checkpoints but not the result.
_NOT_IN_IDENTITY: Any = {
    **dict.fromkeys(
        (
            "distribution",
            "micro_batch_size",
            "rollout_batch_size",
            "gradient_checkpointing",
            "checkpoint_minutes",
            "image_threads",
        ),
        True,
    ),
    "rollout": {"max_logprob_gap": True, "placement": True, "engine": _VLLM_RESOURCES},
    "teacher": {"placement": True, "engine": _VLLM_RESOURCES},
}


class TrainConfig(TrainingConfig):
    """One training: the shared settings with those of its method."""

    method: MethodName = "vicur"
    """The method to train with."""

    @model_validator(mode="before")
    @classmethod
    def _apply_per_method(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("per_method"), dict):
            return values
        own = values["per_method"].get(values.get("method", cls.model_fields["method"].default)) or {}
        # Emptied, so that other methods' settings do not change the identity of this training.
        return {**values, **own, "per_method": {}}

    @model_validator(mode="after")
    def _is_compatible(self) -> Self:
        require_compatible(self)
        return self

    def identity(self) -> dict[str, Any]:
        """Return the settings that the result depends on, with which a training may resume."""
        return self.model_dump(mode="json", exclude=_NOT_IN_IDENTITY)

    def inputs(self) -> dict[str, Path]:
        """Return the teacher's folder if the teacher is another checkpoint."""
        return {name: model_folder(path) for name, path in self.model_paths().items()}

    def model_paths(self) -> dict[str, str]:
        """Return the teacher's path if the teacher is another checkpoint."""
        teacher = self.effective.teacher
        return {"teacher": teacher.path} if teacher.type == "checkpoint" and teacher.path is not None else {}

    @property
    def effective(self) -> Method:
        """The method's settings, with those that are set explicitly in their place."""
        named = method_named(self.method)
        return Method(
            privilege=self.privilege or named.privilege,
            teacher=self.teacher or named.teacher,
            recovery=named.recovery if self.recovery.enabled is None else self.recovery.enabled,
            objective=self.objective or named.objective,
        )

    def filled_in(self) -> TrainConfig:
        """Return the same training with the method's settings written out."""
        method = self.effective
        recovery = self.recovery.model_copy(update={"enabled": method.recovery})
        own = {"privilege": method.privilege, "teacher": method.teacher, "objective": method.objective}
        return self.model_copy(update={**own, "recovery": recovery})

    @property
    def engines(self) -> dict[str, PlacedEngine]:
        """The vLLM engines of the training by their part in it: ``rollout``, ``teacher``."""
        teacher = self.effective.teacher
        parts = {"rollout": self.rollout, **({"teacher": teacher} if isinstance(teacher, FrozenTeacherConfig) else {})}
        return {
            name: PlacedEngine(part.placement, part.engine)
            for name, part in parts.items()
            if isinstance(part.engine, Vllm)
        }

    @property
    def correction(self) -> NoCorrection | TruncatedRatio:
        """The importance correction of the rollouts."""
        if not self.effective.objective.is_sample_mean:
            return NoCorrection()
        return self.rollout.importance or (TruncatedRatio() if self.staleness else NoCorrection())

    @property
    def server_devices(self) -> int:
        """Devices of the servers that start with the training, in addition to those of its own processes."""
        return sum(engine.devices for engine in self.engines.values())

    @property
    def description(self) -> str:
        """A summary of the method's settings, in one line."""
        method, trained = self.effective, self.trained
        module = f"on (interval {self.recovery.interval}, sink {self.recovery.sink})" if method.recovery else "off"
        return (
            f"privilege {method.privilege}, teacher {method.teacher.type}, cue recovery {module}, objective {method.objective.type}, "
            f"trained {trained.type} {'with' if trained.vision else 'without'} the vision tower"
        )

    @property
    def responses_per_prompt(self) -> int:
        return self.effective.objective.responses_per_prompt
