"""Settings of repeated sampling: several responses to each question, for the mean accuracy over them and pass@k."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from vicur.config.decoding import PaperDecoding, SampledDecoding
from vicur.config.section import Section


class RepeatsConfig(Section):
    """Responses that are sampled in addition to those that the accuracy is measured on."""

    count: int = Field(default=0, ge=0, le=1000)
    """Number of responses to each question. 0 (default) samples none."""
    decoding: Annotated[PaperDecoding | SampledDecoding, Field(discriminator="type")] = SampledDecoding()
    """Sampling of these responses: ``sampled`` with your parameters (default: temperature 1) or ``paper``."""
    max_examples: int | None = Field(default=500, ge=1)
    """Maximum number of questions per split, a seeded sample of those that are evaluated. ``null``: all of them."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.count and not self.decoding.sampling_within(1).temperature:
            raise ValueError("decoding: a temperature of 0 gives the same response each time; set one above 0")
        return self
