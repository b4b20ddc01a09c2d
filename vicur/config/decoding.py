"""Decoding strategies of an evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vicur.config.sampling import Sampling, SamplingChoice
from vicur.config.section import Section

ROLLOUT_TOKENS: int = Sampling.model_fields["max_new_tokens"].default
"""Maximum length of a rollout unless the section ``training`` sets another."""


class GreedyDecoding(Section):
    """Greedy decoding: one deterministic response per question."""

    type: Literal["greedy"] = "greedy"
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Maximum length of a response, including its end-of-turn token. ``null`` uses that of the rollouts."""

    def sampling_within(self, limit: int) -> Sampling:
        """Return the sampling parameters, with ``limit`` as the length of responses if none is set."""
        return Sampling(temperature=0.0, max_new_tokens=self.max_new_tokens or limit)


class PaperDecoding(Section):
    """Sampling with the settings of the paper's benchmarks (arXiv 2606.05718, evaluation settings)."""

    type: Literal["paper"] = "paper"

    @property
    def sampling(self) -> Sampling:
        """Equivalent sampling parameters."""
        return Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, max_new_tokens=4096)

    def sampling_within(self, limit: int) -> Sampling:  # noqa: ARG002
        """Return the sampling parameters."""
        return self.sampling


class EvaluationSampling(SamplingChoice):
    """Sampling parameters of an evaluation."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """Maximum length of a response, including its end-of-turn token. ``null`` uses that of the rollouts."""


class SampledDecoding(Section):
    """Sampling with custom settings."""

    type: Literal["sampled"] = "sampled"
    sampling: EvaluationSampling = EvaluationSampling()
    """Sampling parameters."""

    def sampling_within(self, limit: int) -> Sampling:
        """Return the sampling parameters, with ``limit`` as the length of responses if none is set."""
        values = self.sampling.model_dump()
        return Sampling.model_validate({**values, "max_new_tokens": self.sampling.max_new_tokens or limit})


Decoding = Annotated[GreedyDecoding | PaperDecoding | SampledDecoding, Field(discriminator="type")]
"""Decoding strategy, chosen by ``type``."""
