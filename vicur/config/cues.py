"""Settings of visual cues: their provider and the limits of the audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from vicur.config.address import http_address
from vicur.config.cue_policies import CuePolicies, are_default
from vicur.config.data import Split
from vicur.config.prompts import PromptConfig, is_default
from vicur.config.reader import ReaderConfig
from vicur.config.section import Section
from vicur.config.splits import listing

TRAINING_SPLIT: Split = "distill"
"""The split whose cues teachers see. The audit's limits and headline figures refer to it."""


class AnnotationCues(Section):
    """Cues from the dataset itself: the ``cue`` field of its examples."""

    type: Literal["annotation"] = "annotation"


class PixelCues(Section):
    """Cues that are computed from the image of a digit scene and its question."""

    type: Literal["pixels"] = "pixels"


# Not a setting: configurations are stored in run folders, packages and logs.
API_KEY_VARIABLE = "VICUR_CUE_API_KEY"
"""Environment variable with the API key of the endpoint, if it requires one."""


class EndpointCues(Section):
    """Cues from a vision-language model behind an OpenAI-compatible endpoint. The model sees image and question, never the answer."""

    type: Literal["endpoint"] = "endpoint"
    url: str
    """Address of the API with its version, such as ``http://cue-model:8000/v1``."""
    model: str = Field(min_length=1)
    """Name under which the endpoint serves the model. Cached cues are stored under it, so a different model needs a different name."""
    prompt: Literal["v1"] = "v1"
    """Version of the prompt (``vicur/cues/cue_prompt.py``)."""
    max_tokens: int = Field(160, ge=8, le=4096)
    """Maximum length of a cue in tokens. A cue that is cut off is discarded."""
    concurrency: int = Field(16, ge=1, le=512)
    """Number of concurrent requests."""
    timeout: float = Field(120.0, gt=0, le=3600)
    """Timeout of a request in seconds."""
    retries: int = Field(5, ge=0, le=20)
    """Number of retries after status 429, a server error or a lost connection. Waits grow exponentially, or follow ``Retry-After``."""
    # Left out of identities if it is the default, because it changes no cue.
    max_prompt_tokens: int = Field(32_768, ge=1, exclude_if=lambda tokens: bool(tokens == 32_768))
    """Longest prompt of the cue model, with its images as Qwen3-VL counts them. An example whose prompt certainly has more tokens is not
    requested and has no cue."""

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        return http_address(url, "http://cue-model:8000/v1", API_KEY_VARIABLE)

    def identity(self) -> dict[str, Any]:
        """Return all settings except the address and how requests are sent."""
        # The same model gives the same cues elsewhere, so that cached cues stay valid if it moves.
        return self.model_dump(mode="json", exclude={"url", "concurrency", "timeout", "retries"})


CueProviderConfig = Annotated[AnnotationCues | PixelCues | EndpointCues, Field(discriminator="type")]
"""Cue provider, chosen by ``type``."""


class CuesConfig(Section):
    """Settings of the stage that extracts and audits cues."""

    provider: CueProviderConfig = PixelCues()
    """Cue provider."""
    splits: Annotated[
        tuple[Split, ...], AfterValidator(listing(TRAINING_SPLIT, "the split whose cues teachers use"))
    ] = (TRAINING_SPLIT, "validation", "test", "ood")
    """Splits to extract cues for. Teachers use only the cues of ``distill``; those of the other splits show how well the provider works on
    new images. Splits that the dataset does not have are skipped, except ``distill``, which is required."""
    policies: CuePolicies = Field(default=CuePolicies(), exclude_if=are_default)
    """What happens to a cue in which the audit finds something: by default, it is kept and counts against its limit."""
    max_ungrounded_share: float = Field(0.05, ge=0, le=1)
    """Maximum share of the ``distill`` cues that may contradict the dataset's annotations; above it, the stage fails. A dataset without
    annotations passes."""
    max_leak_share: float = Field(0.0, ge=0, le=1)
    """Maximum share of the ``distill`` cues that may reveal the answer; above it, the stage fails."""
    max_solution_share: float = Field(0.05, ge=0, le=1, exclude_if=lambda share: bool(share == 0.05))
    """Maximum share of the ``distill`` cues that may state a step of a solution, such as a theorem or an equation; above it, the stage
    fails."""
    max_unusable_share: float = Field(0.02, ge=0, le=1, exclude_if=lambda share: bool(share == 0.02))
    """Maximum share of the ``distill`` cues that may be unusable, such as refusals or injected instructions; above it, the stage
    fails."""
    max_skipped_share: float = Field(0.02, ge=0, le=1)
    """Maximum share of the ``distill`` examples that may be without a cue; above it, the stage fails."""
    samples: int = Field(72, ge=0, le=1000)
    """Number of examples on the page of samples."""
    prompts: PromptConfig = Field(default=PromptConfig(), exclude_if=is_default)
    """Settings of prompts, from the section ``data``."""

    # Set from the sections base and training. No cue depends on it.
    reader: ReaderConfig | None = Field(default=None, exclude_if=lambda reader: reader is None)
    """The model that will read the dataset and its cues."""

    def identity(self) -> dict[str, Any]:
        """Return the settings that the cues and their audit depend on."""
        identity = {**super().identity(), "provider": self.provider.identity()}
        return {name: value for name, value in identity.items() if name != "reader"}
