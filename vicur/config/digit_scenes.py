"""The embedded dataset: scenes of handwritten digits."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from vicur.config.data_source import SourceConfig
from vicur.config.formats import SPLITS
from vicur.config.section import Section

# Number of images of the rarest digit in scikit-learn's load_digits.
_IMAGES_PER_CLASS = 174


class Distortion(Section):
    """Ranges of the random distortion of each digit. All are integers, because rendering is exact integer arithmetic."""

    rotation: int = Field(12, ge=0, le=45)
    """Largest rotation in either direction, in degrees."""
    shift: int = Field(1, ge=0, le=4)
    """Largest shift along either axis, in pixels."""
    scale: tuple[int, int] = (85, 105)
    """Smallest and largest size, in percent of the default size."""
    intensity: tuple[int, int] = (75, 100)
    """Weakest and strongest ink, in percent."""
    stroke: int = Field(0, ge=0, le=80)
    """Largest change of the stroke width, in percent. A change of -100 would erase the stroke."""
    noise: int = Field(24, ge=0, le=120)
    """Largest noise added to a colour channel, of 255."""
    blurred: int = Field(0, ge=0, le=100)
    """Share of blurred digits, in percent."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name in ("scale", "intensity"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be [smallest, largest] in percent, both above 0; it is [{low}, {high}]")
        return self


class Pool(Section):
    """One split of the digit scenes: its handwriting, and its number of scenes and questions."""

    digits_per_class: int = Field(gt=0)
    """Handwritten images of each of the ten digits. No image is in two pools."""
    scenes: int = Field(gt=0)
    """Number of scenes composed from the pool."""
    questions: int = Field(3, ge=1, le=6)
    """Questions per scene, each of a different kind."""
    distortion: Distortion = Distortion()
    """Distortion of the digits."""


class DigitScenesConfig(SourceConfig):
    """The embedded dataset: scenes of six coloured handwritten digits and questions about them."""

    type: Literal["digit_scenes"] = "digit_scenes"
    base: Pool = Pool(digits_per_class=8, scenes=2000)
    """Training data of the tiny base model: so little handwriting that it reads badly."""
    distill: Pool = Pool(digits_per_class=70, scenes=1350)
    """Training data of the students."""
    validation: Pool = Pool(digits_per_class=15, scenes=200)
    """Used to choose checkpoints, settings and methods."""
    test: Pool = Pool(digits_per_class=30, scenes=400)
    """Used by the gate and the report."""
    ood: Pool = Pool(
        digits_per_class=40,
        scenes=200,
        distortion=Distortion(rotation=25, shift=2, scale=(80, 110), stroke=15, noise=48, blurred=50),
    )
    """Handwriting with stronger distortion than any in the training data."""

    # Left out of manifests if it is 1, so that datasets from before this setting keep their hashes.
    together: int = Field(1, ge=1, le=6, exclude_if=lambda together: together == 1)
    """Questions combined into one prompt. With more than one, the response describes the whole scene (about 24 tokens) and answers each
    question (about 19 tokens each); the last answer counts. The tiny base model was not trained on such prompts."""

    @property
    def pools(self) -> dict[str, Pool]:
        """Return the pools by split. They take their digit images in this order."""
        return {split: getattr(self, split) for split in SPLITS}

    @model_validator(mode="after")
    def _enough_handwriting(self) -> Self:
        total = sum(pool.digits_per_class for pool in self.pools.values())
        if total > _IMAGES_PER_CLASS:
            raise ValueError(
                f"digits_per_class of all pools adds up to {total}, but there are only {_IMAGES_PER_CLASS} images of each digit: "
                "lower it in one of the pools"
            )
        return self
