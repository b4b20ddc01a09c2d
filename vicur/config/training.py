"""How a student is trained.

A method's name stands for four settings (``vicur.config.methods``): ``privilege``, ``teacher``, ``recovery.enabled`` and ``objective``.
Each may be set by itself, and what is set replaces the method's own, whole: ``--method opsd --set training.privilege=rationale`` is
opsd with the rationale as its hint, and with ``training.objective.type=grpo`` nothing is left of another objective's settings. What is
left out (``None``) is as the method has it. :attr:`TrainConfig.effective` is what came of it: that is checked, logged and written down.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.compatibility import require_compatible
from vicur.config.distribution import DistributionConfig
from vicur.config.features import FeatureCacheConfig
from vicur.config.methods import Method, MethodName, TeacherPrivilege, method_named
from vicur.config.objective import ObjectiveConfig
from vicur.config.recovery import RecoveryChoice
from vicur.config.rollout import RolloutConfig
from vicur.config.section import Section
from vicur.config.sources import Sources
from vicur.config.teacher import TeacherConfig
from vicur.config.trained import TrainedConfig, WholeModel
from vicur.config.validation import validated
from vicur.config.vllm import Vllm
from vicur.wording import did_you_mean


class TrainingConfig(Section):
    """Settings that the methods of a run share."""

    privilege: TeacherPrivilege | None = None
    """What stands in the teacher's hint. Left out: as the method has it."""
    teacher: TeacherConfig | None = None
    """Who scores the student's responses. Left out: as the method has it."""
    recovery: RecoveryChoice = RecoveryChoice(interval=2)
    """The cue recovery module, and whether the student has it."""
    objective: ObjectiveConfig | None = None
    """What is minimised. Left out: as the method has it."""
    trained: TrainedConfig = WholeModel()
    """Which weights are trained."""
    cue_of: Literal["own", "another"] = "own"
    """Whose cue stands in the hint: the example's ``own`` or, as a control, that of ``another`` example with the same question and
    another cue. Such a hint is relevant and false: what a student still learns from it, it has not learnt from what is in the image."""
    bar_images: bool = False
    """Experimental, the control of cue recovery: whether the student's text is barred from attending to the images (its teacher's is
    not). What is in an image can then reach a response through the cue recovery module alone."""
    per_method: dict[MethodName, dict[str, Any]] = Field(default_factory=dict)
    """Settings of this section for one method of a run alone: ``{grpo: {learning_rate: 1.0e-4}}``. Each replaces the shared one whole."""
    steps: int = Field(default=200, ge=1)
    """Batches that the student learns from, at most."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts a step, on all processes together; one rollout each, or a group under ``grpo``."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Responses that a process scores and back-propagates at once. It changes memory and time, not the update. Left out: all of its share
    of the batch."""
    updates_per_batch: int = Field(default=1, ge=1)
    """Updates on each batch, every one on all of its responses. Above 1, ``k1`` and ``grpo`` clip the PPO ratio."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps over which the learning rate rises linearly; it is constant afterwards."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm that gradients are clipped to."""
    rollout: RolloutConfig = RolloutConfig()
    """How rollouts are drawn, and by what. Scores are those of the untempered distribution: temperature 1 keeps the method on policy."""
    rollout_batch_size: int | None = Field(default=None, ge=1)
    """Responses that a process draws at once. It changes memory and time, not what is drawn. Left out: all of its share of the batch."""
    features: FeatureCacheConfig = FeatureCacheConfig()
    """Room for what frozen vision towers make of the images."""
    validate_every: int = Field(default=20, ge=1)
    """Steps between validations."""
    validation_examples: int = Field(default=300, ge=1)
    """Validation questions, at most."""
    patience: int = Field(default=6, ge=1)
    """Validations without a new best accuracy after which training stops."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the student: the best on the validation questions, or the last. A control that is taught what is false is best
    before it is taught anything: it needs the last."""
    checkpoint_every: int = Field(default=20, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    max_unhinted_share: float = Field(default=0.02, ge=0, le=1)
    """Share of distillation examples that may lack what the method teaches with: the hint, for ``sft`` the reference, and an image where
    the cue recovery module alone is trained. They are skipped and counted; above it, the stage fails."""
    max_prompt_tokens: int = Field(default=256, ge=1)
    """Longest prompt of teacher or student. A longer one is skipped and counted, as an example without a hint is."""
    distribution: DistributionConfig = DistributionConfig()
    """World and devices of the training."""
    mixed_precision: Literal["none", "bf16"] = "none"
    """``bf16`` computes in bfloat16. What is trained stays in float32, with its gradients and its optimizer; what is frozen is held in
    bfloat16. ``none`` computes in float32."""
    gradient_checkpointing: bool = False
    """Compute a layer's activations again in the backward instead of keeping them: less memory, more time, the same update."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: ``auto`` takes a GPU where there is one."""
    threads: int = Field(default=1, ge=0)
    """CPU threads of the training process; 0 leaves torch's choice. On few cores, processes side by side beat threads."""

    @field_validator("per_method")
    @classmethod
    def _own_settings_exist(cls, per_method: dict[MethodName, dict[str, Any]]) -> dict[MethodName, dict[str, Any]]:
        for name, own in per_method.items():
            known = TrainingConfig.model_fields.keys() - {"per_method"}
            unknown = sorted(own.keys() - known)
            if unknown:
                raise ValueError(f"there is no setting {name}.{unknown[0]}.{did_you_mean(unknown[0], known)}")
        return per_method

    def for_method(self, name: str) -> TrainConfig:
        """The settings of one method of the run.

        Raises:
            VicurError: where they are wrong, or do not go together.
        """
        # The shared settings are valid by themselves: what is wrong now was set for this method.
        sources = Sources("", within=f"training.per_method.{name}", options={"method": "--method"})
        config: TrainConfig = validated(TrainConfig, {**self.model_dump(), "method": name}, sources)
        return config


# What takes memory and time, and changes nothing that is learned.
_OF_PLACE = {"cache_gb", "url", "exchange", "patience"}
_WITHOUT_EFFECT: Any = {
    **dict.fromkeys(("distribution", "micro_batch_size", "rollout_batch_size", "gradient_checkpointing"), True),
    "rollout": {"max_logprob_gap": True, "engine": _OF_PLACE},
    "teacher": {"engine": _OF_PLACE},
}


class TrainConfig(TrainingConfig):
    """One training: the shared settings and the method."""

    method: MethodName = "vicur"
    """Which method to train with."""

    @model_validator(mode="before")
    @classmethod
    def _take_own_settings(cls, values: Any) -> Any:
        """Puts the method's own settings in place of the shared ones; those of other methods have no part in this training."""
        if not isinstance(values, dict) or not isinstance(values.get("per_method"), dict):
            return values
        own = values["per_method"].get(values.get("method", cls.model_fields["method"].default)) or {}
        return {**values, **own, "per_method": {}}

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        require_compatible(self)
        return self

    def identity(self) -> dict[str, Any]:
        """The settings that what is learned depends on: a checkpoint may go on with others of memory and time, on other processes."""
        return self.model_dump(mode="json", exclude=_WITHOUT_EFFECT)

    def inputs(self) -> dict[str, Path]:
        """Return the teacher's folder if the teacher is another checkpoint."""
        teacher = self.effective.teacher
        return {"teacher": teacher.folder} if teacher.type == "checkpoint" else {}

    @property
    def effective(self) -> Method:
        """What the method's name and the settings beside it come to."""
        named = method_named(self.method)
        return Method(
            privilege=self.privilege or named.privilege,
            teacher=self.teacher or named.teacher,
            recovery=named.recovery if self.recovery.enabled is None else self.recovery.enabled,
            objective=self.objective or named.objective,
        )

    def filled_in(self) -> TrainConfig:
        """The same training with nothing left out: what the method has stands where no other value was given."""
        method = self.effective
        recovery = self.recovery.model_copy(update={"enabled": method.recovery})
        own = {"privilege": method.privilege, "teacher": method.teacher, "objective": method.objective}
        return self.model_copy(update={**own, "recovery": recovery})

    @property
    def engines(self) -> dict[str, Vllm]:
        """The parts that vLLM takes: ``rollout``, ``teacher``."""
        parts = {"rollout": self.rollout.engine, "teacher": getattr(self.effective.teacher, "engine", None)}
        return {part: engine for part, engine in parts.items() if isinstance(engine, Vllm)}

    @property
    def description(self) -> str:
        """What sets this training apart, for people."""
        method, trained = self.effective, self.trained
        module = f"on (interval {self.recovery.interval}, sink {self.recovery.sink})" if method.recovery else "off"
        return (
            f"privilege {method.privilege}, teacher {method.teacher.type}, cue recovery {module}, objective {method.objective.type}, "
            f"trained {trained.type} {'with' if trained.vision else 'without'} the vision tower"
        )

    @property
    def responses_per_prompt(self) -> int:
        """Responses to each prompt of a batch."""
        objective = self.effective.objective
        return objective.group_size if objective.type == "grpo" else 1
