"""Where visual cues come from, and what the audit lets through."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vicur.config.base import Section
from vicur.config.data import SPLITS

TAUGHT_SPLIT = "distill"
"""The split whose cues a teacher sees: the audit's limits and headline figures are about it."""


class AnnotationCues(Section):
    """Cues that the dataset brings along, in the ``cue`` field of its examples."""

    type: Literal["annotation"] = "annotation"


class PixelCues(Section):
    """Cues that are read off the image of a digit scene, as a function of image and question alone."""

    type: Literal["pixels"] = "pixels"


CueProviderConfig = Annotated[AnnotationCues | PixelCues, Field(discriminator="type")]
"""What makes the cues, chosen by ``type``."""


class CuesConfig(Section):
    """Settings of the stage that extracts and audits cues."""

    provider: CueProviderConfig = PixelCues()
    """What makes the cues."""
    splits: tuple[str, ...] = (TAUGHT_SPLIT, "validation", "test", "ood")
    """Splits that get cues. Only those of ``distill`` teach; the others show how the provider does on new images. Of
    these, a split that the dataset lacks is passed over."""
    max_ungrounded_share: float = Field(0.05, ge=0, le=1)
    """Share of the ``distill`` cues that may disagree with what the dataset knows to be in the image; above it the
    stage fails. A dataset that knows nothing of its images passes."""
    max_leak_share: float = Field(0.0, ge=0, le=1)
    """Share of the ``distill`` cues that may give the answer away; above it the stage fails."""
    max_skipped_share: float = Field(0.02, ge=0, le=1)
    """Share of the ``distill`` examples that may go without a cue; above it the stage fails."""
    samples: int = Field(72, ge=0, le=1000)
    """Examples on the page of samples."""

    @model_validator(mode="after")
    def _splits_are_known(self) -> Self:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown:
            raise ValueError(f"splits names {unknown[0]!r}, which is none of {', '.join(SPLITS)}")
        if TAUGHT_SPLIT not in self.splits:
            raise ValueError(f"splits has no {TAUGHT_SPLIT!r}, and those are the cues that teach")
        if len(set(self.splits)) < len(self.splits):
            raise ValueError("splits names a split twice")
        return self
