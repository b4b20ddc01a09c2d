"""The cue recovery module of the student."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vicur.config.section import Section


class CueRecoverySettings(Section):
    """Layers, sink and heads of the cue recovery module (arXiv 2606.05718, section "Cue recovery module")."""

    interval: int = Field(default=5, ge=1)
    """The module acts after the decoder layers 0, ``interval``, 2 ``interval``, ... except the last, after which no layer reads it."""
    sink: Literal["first", "assistant"] = "first"
    """Sink token whose state is the query: the ``first`` of the sequence (the paper), or the header of the ``assistant`` turn, which
    depends on the question."""
    num_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the module. Default: as many as the text backbone has."""

    def layers(self, decoder_layers: int) -> tuple[int, ...]:
        """Return the indices of the decoder layers that the module follows, in a model with ``decoder_layers``."""
        return tuple(range(0, decoder_layers - 1, self.interval))


class RecoveryChoice(CueRecoverySettings):
    """The cue recovery module in a training."""

    enabled: bool | None = None
    """Add the module to the student. Default: as the method says."""

    @property
    def module(self) -> CueRecoverySettings:
        """The settings of the module itself."""
        return CueRecoverySettings(**self.model_dump(exclude={"enabled"}))
