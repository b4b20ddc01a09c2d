"""How a training draws its rollouts: with which engine, and what guards the distance between that engine and the trainer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vicur.config.sampling import Sampling
from vicur.config.section import Section
from vicur.config.vllm import Vllm


class TransformersRollouts(Section):
    """The trained model itself answers: nothing is transferred, and there is no gap."""

    type: Literal["transformers"] = "transformers"


RolloutEngineConfig = Annotated[TransformersRollouts | Vllm, Field(discriminator="type")]
"""What draws rollouts, chosen by ``type``."""


class NoCorrection(Section):
    """Rollouts count as the trainer's own."""

    type: Literal["none"] = "none"


class TruncatedRatio(Section):
    """Each token's term is weighted by the ratio of its probabilities in trainer and engine, at most ``cap``."""

    type: Literal["truncated"] = "truncated"
    cap: float = Field(default=2.0, ge=1)
    """Largest weight: without one, a token that the engine hardly ever draws would outweigh all others."""


ImportanceConfig = Annotated[NoCorrection | TruncatedRatio, Field(discriminator="type")]
"""Correction for tokens that another engine drew, chosen by ``type``."""


class RolloutConfig(Sampling):
    """How rollouts are drawn, and by what."""

    engine: RolloutEngineConfig = TransformersRollouts()
    """What draws them."""
    importance: ImportanceConfig = NoCorrection()
    """Correction for the distance between another engine and the trainer, in objectives that are policy gradients."""
    max_logprob_gap: float = Field(default=0.1, gt=0)
    """Largest mean over the tokens of a step of the absolute difference between another engine's log-probabilities and the trainer's, in
    nats. Above it the training stops: what the engine samples is no longer the student. In float32 the gap is below 1e-5, in bfloat16 some
    hundredths."""

    @property
    def elsewhere(self) -> bool:
        """Whether another engine than the trained model itself draws."""
        return self.engine.type != "transformers"
