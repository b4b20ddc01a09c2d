"""The teacher, which scores the student's responses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vicur.config.base import ModelPath, model_folder
from vicur.config.placement import Placement, require_placed, with_engine
from vicur.config.section import Section
from vicur.config.vllm import Vllm


class LocalScoring(Section):
    """The training process loads the teacher and scores with it."""

    type: Literal["local"] = "local"


TeacherEngineConfig = Annotated[LocalScoring | Vllm, Field(discriminator="type")]
"""The engine that a teacher scores with, chosen by ``type``."""


class FrozenTeacherConfig(Section):
    """A teacher whose weights never change, so that any engine can hold them."""

    engine: TeacherEngineConfig = LocalScoring()
    """Scoring engine. vLLM returns log-probabilities of the sampled tokens only, which suffices for the objectives ``k1``,
    ``k2``, ``k3``, ``abs`` and ``mse``. Default: the training process itself, with placement ``job`` or ``url`` vLLM."""
    placement: Placement = "process"
    """Where the engine runs: in the training's processes (``process``), as servers that start and end with the training (``job``), or as
    servers at ``engine.url`` (``url``)."""

    @model_validator(mode="before")
    @classmethod
    def _has_engine(cls, values: Any) -> Any:
        return with_engine(values, "teacher")

    @model_validator(mode="after")
    def _is_placed(self) -> Self:
        require_placed(self.placement, self.engine, "teacher")
        return self


class SelfFrozen(FrozenTeacherConfig):
    """A frozen copy of the model that the student starts from."""

    type: Literal["self-frozen"] = "self-frozen"


class SelfEma(Section):
    """A moving average of the student, including its cue recovery module: T <- decay T + (1 - decay) theta after each update."""

    type: Literal["self-ema"] = "self-ema"
    decay: float = Field(default=0.999, ge=0, lt=1)
    """Share of the average that an update keeps. 0 copies the student; for an average that never moves use ``self-frozen``."""


class SelfAdapterOff(Section):
    """The student's backbone, scoring with LoRA and cue recovery switched off: ``self-frozen`` without a second copy of the weights."""

    type: Literal["self-adapter-off"] = "self-adapter-off"


class OtherCheckpoint(FrozenTeacherConfig):
    """Another checkpoint with the student's vocabulary and patches, usually a stronger model."""

    type: Literal["checkpoint"] = "checkpoint"
    path: ModelPath | None = None
    """Its folder, as written by ``save_pretrained``, its address in the forms of ``base.path``, or ``tiny-teacher``, a larger tiny model
    that comes with this package. Its files are an input of the training."""

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint. Requires ``path``, which :func:`~vicur.config.compatibility.require_compatible` checks."""
        assert self.path is not None
        return model_folder(self.path)


class NoTeacher(Section):
    """No teacher: the student learns from rewards or reference responses."""

    type: Literal["none"] = "none"


TeacherConfig = Annotated[
    SelfFrozen | SelfEma | SelfAdapterOff | OtherCheckpoint | NoTeacher, Field(discriminator="type")
]
"""The teacher, chosen by ``type``."""
