"""How a student is distilled."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vicur.config.base import Section
from vicur.config.objective import K1, Objective
from vicur.config.sampling import Sampling
from vicur.config.student import CueRecoverySettings

MethodName = Literal["opsd", "opsd-cue", "opsd-recovery", "vicur"]
METHODS: tuple[MethodName, ...] = ("opsd", "opsd-cue", "opsd-recovery", "vicur")


class Method(Section):
    """What sets a method apart: the teacher's privilege, and whether the student has the cue recovery module."""

    privilege: Literal["answer", "cue"]
    """What stands in the teacher's hint."""
    recovery: bool
    """Whether the student gets the cue recovery module."""


def method_named(name: MethodName) -> Method:
    """The settings that a method's name stands for (the paper's self-distillation table)."""
    table: dict[MethodName, Method] = {
        "opsd": Method(privilege="answer", recovery=False),
        "opsd-cue": Method(privilege="cue", recovery=False),
        "opsd-recovery": Method(privilege="answer", recovery=True),
        "vicur": Method(privilege="cue", recovery=True),
    }
    return table[name]


class TrainingConfig(Section):
    """Settings that all methods share."""

    steps: int = Field(default=200, ge=1)
    """Updates of the student, at most."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts a step; one rollout each."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak learning rate of AdamW."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps over which the learning rate rises linearly; it is constant afterwards."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm that gradients are clipped to."""
    objective: Objective = K1()
    """What is minimised on the student's rollouts, as ``{type: jsd, beta: 0.1}`` or by its bare name: ``k1``, the paper's; ``k3``,
    ``reverse_kl``, ``forward_kl``, ``jsd`` or ``topk_forward_kl``."""
    rollout: Sampling = Sampling()
    """How rollouts are drawn. Scores are those of the untempered distribution: temperature 1 keeps the method on policy."""
    train_vision: bool = True
    """Whether the vision tower is trained too."""
    recovery: CueRecoverySettings = CueRecoverySettings(interval=2)
    """The cue recovery module, for methods that have it."""
    validate_every: int = Field(default=20, ge=1)
    """Steps between validations."""
    validation_examples: int = Field(default=300, ge=1)
    """Validation questions, at most."""
    patience: int = Field(default=6, ge=1)
    """Validations without a new best accuracy after which training stops."""
    checkpoint_every: int = Field(default=20, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    max_unhinted_share: float = Field(default=0.02, ge=0, le=1)
    """Share of distillation examples that may lack the hint they need. They are skipped and counted; above it, the stage fails."""
    max_prompt_tokens: int = Field(default=256, ge=1)
    """Longest prompt of teacher or student. A longer one is skipped and counted, as an example without a hint is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: ``auto`` takes a GPU where there is one."""
    threads: int = Field(default=1, ge=0)
    """CPU threads of the training process; 0 leaves torch's choice. On few cores, processes side by side beat threads."""


class TrainConfig(TrainingConfig):
    """One training: the shared settings and the method."""

    method: MethodName = "vicur"
    """Which method to train with."""
