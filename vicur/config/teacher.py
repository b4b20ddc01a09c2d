"""Who scores the student's responses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vicur.config.base import model_folder
from vicur.config.section import Section
from vicur.config.vllm import Vllm


class LocalScoring(Section):
    """The teacher is loaded by the training, and scores there."""

    type: Literal["local"] = "local"


TeacherEngineConfig = Annotated[LocalScoring | Vllm, Field(discriminator="type")]
"""What a teacher scores with, chosen by ``type``."""


class _Apart(Section):
    """A teacher that never changes, wherever it is."""

    engine: TeacherEngineConfig = LocalScoring()
    """What it scores with. vLLM tells the log-probabilities of the tokens that were sampled, hence
    for the objectives ``k1`` and ``k3`` alone."""


class SelfFrozen(_Apart):
    """The model that the student starts from, as it was then: a second copy of its weights."""

    type: Literal["self-frozen"] = "self-frozen"


class SelfEma(Section):
    """A moving average of the student itself, its cue recovery module included: T <- decay T + (1 - decay) theta after each update."""

    type: Literal["self-ema"] = "self-ema"
    decay: float = Field(default=0.999, ge=0, lt=1)
    """Share of the average that an update leaves as it is; 0 is the student itself. 1 would never move: that is ``self-frozen``."""


class SelfAdapterOff(Section):
    """The student's own backbone with LoRA and cue recovery switched off while it scores: ``self-frozen`` without a second copy."""

    type: Literal["self-adapter-off"] = "self-adapter-off"


class OtherCheckpoint(_Apart):
    """Another checkpoint with the student's vocabulary and patches, a stronger one as a rule."""

    type: Literal["checkpoint"] = "checkpoint"
    path: Path | None = None
    """Its folder, in the layout of ``save_pretrained``; ``tiny-teacher`` is the larger tiny model that this package ships. Its bytes are
    an input of the training."""

    @property
    def folder(self) -> Path:
        """``path``, of a training that was checked to name one."""
        assert self.path is not None
        return model_folder(str(self.path))


class NoTeacher(Section):
    """Nobody: the student learns from rewards or references."""

    type: Literal["none"] = "none"


TeacherConfig = Annotated[
    SelfFrozen | SelfEma | SelfAdapterOff | OtherCheckpoint | NoTeacher, Field(discriminator="type")
]
"""The teacher, chosen by ``type``."""
