"""How responses are sampled, in training and evaluation."""

from __future__ import annotations

from pydantic import Field

from vicur.config.section import Section


class Sampling(Section):
    """Sampling parameters."""

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 selects the most likely token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the smallest set of most likely tokens whose probabilities add up to this."""
    top_k: int = Field(default=0, ge=0)
    """Sample from this many of the most likely tokens; 0 for all."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of tokens that the response contains already."""
    max_new_tokens: int = Field(default=40, ge=1)
    """Longest response, including its end-of-turn token."""
