"""The student's own part: the cue recovery module."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vicur.config.section import Section


class CueRecoverySettings(Section):
    """Where cue recovery acts and with how many heads (arXiv 2606.05718, section "Cue recovery module")."""

    interval: int = Field(default=5, ge=1)
    """Modules follow the decoder layers 0, ``interval``, 2 ``interval``, ... but not the last layer: nothing would see what it writes."""
    sink: Literal["first", "assistant"] = "first"
    """Which token asks: the ``first`` of the sequence (the paper), or the header of the ``assistant`` turn, which has seen the question."""
    num_heads: int | None = Field(default=None, ge=1)
    """Attention heads of a module. Left out: as many as the text backbone has."""

    def layers(self, decoder_layers: int) -> tuple[int, ...]:
        """Indices of the decoder layers, of ``decoder_layers`` in all, that a module follows."""
        return tuple(range(0, decoder_layers - 1, self.interval))


class RecoveryChoice(CueRecoverySettings):
    """The cue recovery module in a training: whether there is one, and how it is made."""

    enabled: bool | None = None
    """Whether the student gets the module. Left out: as the method has it."""

    @property
    def module(self) -> CueRecoverySettings:
        """How it is made."""
        return CueRecoverySettings(**self.model_dump(exclude={"enabled"}))
