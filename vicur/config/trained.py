"""The weights of the student that are trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vicur.config.section import Section

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class WholeModel(Section):
    """The text backbone, and cue recovery if the student has it."""

    type: Literal["full"] = "full"
    vision: bool = True
    """Train the vision tower too."""


class Lora(Section):
    """Low-rank updates of the text backbone's projections (arXiv 2106.09685), and all of cue recovery if the student has it.

    The saved student contains the updates merged into its weights.
    """

    # Without dropout: rollout, scoring and training forward must compute the same function.
    type: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    """Rank of each update."""
    alpha: int = Field(default=32, ge=1)
    """An update is scaled by ``alpha / rank``."""
    projections: tuple[Projection, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Projections of each decoder layer that get an update."""
    vision: bool = False
    """Add updates to the linear layers of the vision tower too. Otherwise the tower is frozen."""

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if not self.projections and not self.vision:
            raise ValueError("projections is empty and vision is false, so nothing would be trained")
        return self


class RecoveryAlone(Section):
    """The cue recovery module only. The backbone is frozen."""

    type: Literal["recovery"] = "recovery"

    @property
    def vision(self) -> bool:
        return False


TrainedConfig = Annotated[WholeModel | Lora | RecoveryAlone, Field(discriminator="type")]
