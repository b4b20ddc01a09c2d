"""Which weights of the student are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vicur.config.section import Section

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class WholeModel(Section):
    """Text backbone, and cue recovery where the student has it."""

    type: Literal["full"] = "full"
    vision: bool = True
    """Whether the vision tower is trained too."""


class Lora(Section):
    """Low-rank updates of the text backbone's projections (arXiv 2106.09685), and cue recovery whole where the student has it.

    There is no dropout: rollout, scoring and training forward must compute one function. The student is saved with the updates merged
    into its weights.
    """

    type: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    """Rank of each update."""
    alpha: int = Field(default=32, ge=1)
    """An update is scaled by ``alpha / rank``."""
    projections: tuple[Projection, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Projections of each decoder layer that get an update."""
    vision: bool = False
    """Whether the linear layers of the vision tower get one too; otherwise the tower stays as it is."""

    @model_validator(mode="after")
    def _updates_something(self) -> Self:
        if not self.projections and not self.vision:
            raise ValueError("no projection is named and the vision tower gets no update: there is nothing to train")
        return self


class RecoveryAlone(Section):
    """The cue recovery module; the backbone stays as it is."""

    type: Literal["recovery"] = "recovery"

    @property
    def vision(self) -> bool:
        """Whether the vision tower is trained: never."""
        return False


TrainedConfig = Annotated[WholeModel | Lora | RecoveryAlone, Field(discriminator="type")]
"""What is trained, chosen by ``type``."""
