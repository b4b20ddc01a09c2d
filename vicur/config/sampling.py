"""Sampling parameters of responses, in training and in evaluation."""

from __future__ import annotations

from pydantic import Field, field_validator

from vicur.config.section import Section

LEAST_TEMPERATURE = 1e-4
"""Least temperature above 0. Logits divided by less are no longer finite, and sampling with it is greedy decoding."""


class SamplingChoice(Section):
    """Choice of the next token."""

    temperature: float = Field(default=1.0, ge=0)
    """Temperature that divides the logits; 0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: sample from the most probable tokens whose probabilities add up to this share."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this many most probable tokens; 0 samples from all."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of tokens that the response already contains."""

    @field_validator("temperature")
    @classmethod
    def _divides_logits(cls, temperature: float) -> float:
        if 0 < temperature < LEAST_TEMPERATURE:
            raise ValueError(f"must be 0 (greedy decoding), or at least {LEAST_TEMPERATURE:g}")
        return temperature


class Sampling(SamplingChoice):
    """Sampling parameters."""

    max_new_tokens: int = Field(default=40, ge=1)
    """Maximum length of a response, including its end-of-turn token."""
