"""How models are evaluated and compared."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vicur.config.data import SPLITS
from vicur.config.sampling import Sampling
from vicur.config.section import Section

CHOICE_SPLIT = "validation"
"""The split that methods are chosen on."""
REPORT_SPLIT = "test"
"""The split that results are reported and gated on."""


class GreedyDecoding(Section):
    """Takes the likeliest token: one response a question, the same on every run."""

    type: Literal["greedy"] = "greedy"
    max_new_tokens: int = Field(default=40, ge=1)
    """Longest response, its end of turn included."""

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        return Sampling(temperature=0.0, max_new_tokens=self.max_new_tokens)


class PaperDecoding(Section):
    """Draws tokens as the paper's benchmarks do (arXiv 2606.05718, evaluation settings)."""

    type: Literal["paper"] = "paper"

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""
        return Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, max_new_tokens=4096)


class SampledDecoding(Section):
    """Draws tokens with settings of one's own."""

    type: Literal["sampled"] = "sampled"
    sampling: Sampling = Sampling()
    """How tokens are drawn."""


Decoding = Annotated[GreedyDecoding | PaperDecoding | SampledDecoding, Field(discriminator="type")]
"""How responses are decoded, chosen by ``type``."""


class EvaluationConfig(Section):
    """Settings of the stage that evaluates one model."""

    splits: tuple[str, ...] = (CHOICE_SPLIT, REPORT_SPLIT, "ood")
    """Splits to answer. One that the dataset lacks is left out, except ``test``."""
    decoding: Decoding = GreedyDecoding()
    """How responses are decoded."""
    batch_size: int = Field(default=128, ge=1)
    """Questions answered at once."""
    max_examples: int | None = Field(default=None, ge=1)
    """Questions of each split, at most: the first ones. ``None`` for all."""
    cue_recovery: bool = True
    """Whether a student's cue recovery module takes part. Off, the student computes what its backbone computes: what the module
    contributes to its answers is what is then missing."""
    attention_samples: int = Field(default=8, ge=0)
    """Questions whose sink attention is recorded, for models with the cue recovery module."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: ``auto`` takes a GPU where there is one."""
    threads: int = Field(default=1, ge=0)
    """CPU threads; 0 leaves torch's choice. On few cores, processes side by side beat threads."""

    @model_validator(mode="after")
    def _splits_are_known(self) -> Self:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown:
            raise ValueError(f"splits names {unknown[0]!r}, which is none of {', '.join(SPLITS)}")
        if REPORT_SPLIT not in self.splits:
            raise ValueError(f"splits has no {REPORT_SPLIT!r}, and that is what results are reported on")
        if len(set(self.splits)) < len(self.splits):
            raise ValueError("splits names a split twice")
        return self
