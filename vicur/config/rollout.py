"""How a training draws its rollouts: with which engine, and what guards the distance between that engine and the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.base import Section
from vicur.config.sampling import Sampling


class TransformersRollouts(Section):
    """The trained model itself answers: nothing is transferred, and there is no gap."""

    type: Literal["transformers"] = "transformers"


class VllmRollouts(Section):
    """vLLM answers, with the plugin of ``serving/``; the student's weights reach it after every update (docs/rollouts.md)."""

    type: Literal["vllm"] = "vllm"
    placement: Literal["inside", "server"] = "inside"
    """``inside``: vLLM runs in the process that trains and on its device, and takes the weights from memory. ``server``: it is a server of
    its own, on other devices, and takes the weights from ``exchange``."""
    cache_gb: float = Field(default=4.0, gt=0)
    """Gigabytes for the keys and values of an engine inside. Its weights take as much as the student's, in the type that it computes in."""
    url: str | None = None
    """Address of a server, such as ``http://127.0.0.1:8000``."""
    exchange: Path = Path("/dev/shm")  # noqa: S108 (shared memory, not a place for temporary files)
    """Folder that the trainer and a server both see, under one name: weights pass through it as a file, which is then removed."""
    patience: float = Field(default=600.0, gt=0)
    """Seconds that a server may take for one answer."""

    @model_validator(mode="after")
    def _server_has_an_address(self) -> Self:
        if self.placement == "server" and self.url is None:
            raise ValueError("a server needs its address: set url, as in http://127.0.0.1:8000")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("url is an address such as http://127.0.0.1:8000")
        if self.placement == "inside" and self.url is not None:
            raise ValueError("an engine inside the training has no address: set placement to server, or leave url out")
        return self


RolloutEngineConfig = Annotated[TransformersRollouts | VllmRollouts, Field(discriminator="type")]
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
    """What draws them; its name alone stands for its defaults."""
    importance: ImportanceConfig = NoCorrection()
    """Correction for the distance between another engine and the trainer, in objectives that are policy gradients."""
    max_logprob_gap: float = Field(default=0.1, gt=0)
    """Largest mean over the tokens of a step of the absolute difference between another engine's log-probabilities and the trainer's, in
    nats. Above it the training stops: what the engine samples is no longer the student. In float32 the gap is below 1e-5, in bfloat16 some
    hundredths."""

    @field_validator("engine", "importance", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @property
    def elsewhere(self) -> bool:
        """Whether another engine than the trained model itself draws."""
        return self.engine.type != "transformers"
