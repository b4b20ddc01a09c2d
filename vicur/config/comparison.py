"""Settings of the comparison of students with their base."""

from __future__ import annotations

from pydantic import Field

from vicur.config.section import Section


class ComparisonConfig(Section):
    """Settings of the stage that compares students with their base and writes the report."""

    # Fewer resamples make the ends of the intervals depend on the seed.
    resamples: int = Field(default=10_000, ge=1000)
    """Number of resamples of the paired bootstrap."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""
    cards: int = Field(default=48, ge=0, le=500)
    """Maximum number of sample cards in the report."""
    title: str = "Distillation report"
    """Title of the report."""
