"""Where visual cues come from, and what the audit lets through."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.address import http_address
from vicur.config.data import SPLITS
from vicur.config.section import Section

TAUGHT_SPLIT = "distill"
"""The split whose cues a teacher sees: the audit's limits and headline figures are about it."""


class AnnotationCues(Section):
    """Cues that the dataset brings along, in the ``cue`` field of its examples."""

    type: Literal["annotation"] = "annotation"


class PixelCues(Section):
    """Cues that are read off the image of a digit scene, as a function of image and question alone."""

    type: Literal["pixels"] = "pixels"


API_KEY_VARIABLE = "VICUR_CUE_API_KEY"
"""Variable of the environment that holds the key of the endpoint, if it wants one."""


class EndpointCues(Section):
    """Cues that a vision-language model gives, which is asked through an OpenAI-compatible endpoint such as vLLM's.

    It sees image and question, never the answer. The endpoint's key stands in the environment, in ``VICUR_CUE_API_KEY``, and nowhere else.
    """

    type: Literal["endpoint"] = "endpoint"
    url: str
    """Address of the API, with its version: ``http://cue-model:8000/v1``. Where the model is served is no part of what its cues are."""
    model: str = Field(min_length=1)
    """Name under which the endpoint serves the model. Kept cues go by it: another model needs another name."""
    prompt: Literal["v1"] = "v1"
    """Version of the words that it is asked with (``vicur/cues/cue_prompt.py``)."""
    max_tokens: int = Field(160, ge=8, le=4096)
    """Longest cue, in tokens of the model. One that is cut off there is none."""
    concurrency: int = Field(16, ge=1, le=512)
    """Requests that are under way at once."""
    timeout: float = Field(120.0, gt=0, le=3600)
    """How long an answer may take, in seconds."""
    retries: int = Field(5, ge=0, le=20)
    """How often a request is sent again after 429, a fault of the server or a lost connection, with growing pauses, or as long as the
    server asks for."""

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        return http_address(url, "http://cue-model:8000/v1", API_KEY_VARIABLE)

    def identity(self) -> dict[str, Any]:
        """All but where and how it is asked."""
        return self.model_dump(mode="json", exclude={"url", "concurrency", "timeout", "retries"})


CueProviderConfig = Annotated[AnnotationCues | PixelCues | EndpointCues, Field(discriminator="type")]
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

    def identity(self) -> dict[str, Any]:
        """The settings that the cues and their audit depend on."""
        return {**super().identity(), "provider": self.provider.identity()}
