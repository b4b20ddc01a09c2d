"""How responses are drawn, in training and in evaluation."""

from __future__ import annotations

from pydantic import Field

from vicur.config.section import Section


class Sampling(Section):
    """How tokens are drawn."""

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Smallest share of probability, likeliest first, that tokens are drawn from."""
    top_k: int = Field(default=0, ge=0)
    """Number of likeliest tokens that tokens are drawn from; 0 for all."""
    presence_penalty: float = 0.0
    """Taken off the logits of tokens that the response holds already."""
    max_new_tokens: int = Field(default=40, ge=1)
    """Longest response, its end of turn included."""
