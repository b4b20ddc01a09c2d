"""Sampling parameters of responses, in training and in evaluation."""

from __future__ import annotations

from pydantic import Field

from vicur.config.section import Section


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


class Sampling(SamplingChoice):
    """Sampling parameters."""

    max_new_tokens: int = Field(default=40, ge=1)
    """Maximum length of a response, including its end-of-turn token."""
