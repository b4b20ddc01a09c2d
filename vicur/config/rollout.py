"""Rollouts of a training: the engine that samples them, and limits on the gap between its probabilities and the trainer's."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vicur.config.placement import Placement, require_placed, with_engine
from vicur.config.sampling import Sampling
from vicur.config.section import Section
from vicur.config.vllm import Vllm


class TransformersRollouts(Section):
    """The trained model itself samples: no weights are transferred, and the log-prob gap is zero."""

    type: Literal["transformers"] = "transformers"


RolloutEngineConfig = Annotated[TransformersRollouts | Vllm, Field(discriminator="type")]
"""The rollout engine, chosen by ``type``."""


class NoCorrection(Section):
    """Treat rollouts as sampled by the trainer."""

    type: Literal["none"] = "none"


class TruncatedRatio(Section):
    """Weight each token by the ratio of its probabilities in trainer and engine, at most ``cap``."""

    type: Literal["truncated"] = "truncated"
    cap: float = Field(default=2.0, ge=1)
    """Largest weight. Without it, a token that the engine almost never samples would dominate the loss."""


ImportanceConfig = Annotated[NoCorrection | TruncatedRatio, Field(discriminator="type")]
"""Importance correction for tokens from another engine, chosen by ``type``."""


class RolloutConfig(Sampling):
    """Sampling of rollouts, and the engine that samples them."""

    engine: RolloutEngineConfig = TransformersRollouts()
    """Rollout engine. Default: the trained model itself, with placement ``job`` or ``url`` vLLM."""
    placement: Placement = "process"
    """Where the engine runs: in the training's processes (``process``), as servers that start and end with the training (``job``), or as
    servers at ``engine.url`` (``url``)."""
    importance: ImportanceConfig | None = Field(default=None, exclude_if=lambda importance: importance is None)
    """Importance correction for rollouts of another engine or of earlier weights, in objectives over sampled tokens. Default: ``truncated``
    with ``training.staleness: 1``, otherwise ``none``."""
    max_logprob_gap: float = Field(default=0.1, gt=0)
    """Largest mean absolute difference, over the tokens of a step, between the engine's and the trainer's log-probabilities, in nats. The
    training fails above it, since it would no longer be on policy. Typical gaps: below 1e-5 in float32, some hundredths in bfloat16. It
    does not apply to rollouts that were sampled before an update."""

    @model_validator(mode="before")
    @classmethod
    def _has_engine(cls, values: Any) -> Any:
        return with_engine(values, "rollout")

    @model_validator(mode="after")
    def _is_placed(self) -> Self:
        require_placed(self.placement, self.engine, "rollout")
        return self

    @property
    def is_external(self) -> bool:
        """Whether an engine other than the trained model itself samples the rollouts."""
        return self.engine.type != "transformers"

    @property
    def on_servers(self) -> bool:
        """Whether servers sample the rollouts, so that the training's processes can compute at the same time."""
        return self.is_external and self.placement != "process"
