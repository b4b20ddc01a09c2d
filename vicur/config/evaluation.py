"""How models are evaluated and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from vicur.config.data import SPLITS
from vicur.config.sampling import Sampling
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.wording import listed

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


class EvaluationSetConfig(Section):
    """Settings of a named evaluation set: questions that are answered and reported next to the dataset's splits.

    A subclass gives ``type`` a literal with a default and is listed in :data:`SET_CONFIGS`. Its questions are read by the
    class of the same ``type`` in :mod:`vicur.evaluation.sets`.
    """

    type: str
    """Type of the set."""
    name: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,40})?$")
    """Name of the set in metrics, predictions and the report. Empty uses the type as the name."""

    @property
    def label(self) -> str:
        """Name of the set."""
        return self.name or self.type


SET_CONFIGS: tuple[type[EvaluationSetConfig], ...] = ()
"""The settings of every type of evaluation set."""


def _evaluation_set(value: Any) -> EvaluationSetConfig:
    # A discriminated union of pydantic needs at least one member, and so far there is none: look the type up instead.
    types = {kind.model_fields["type"].default: kind for kind in SET_CONFIGS}
    values = {"type": value} if isinstance(value, str) else value
    if isinstance(values, EvaluationSetConfig):
        known, chosen = type(values) in SET_CONFIGS, values.type
    else:
        chosen = str(values.get("type") or "") if isinstance(values, Mapping) else ""
        known = chosen in types
    if not known:
        names = listed(types, shown=20) or "none"
        raise ValueError(f"type {chosen!r} is not a type of evaluation set (available: {names})")
    if isinstance(values, EvaluationSetConfig):
        return values
    result: EvaluationSetConfig = validated(types[chosen], values, f"evaluation.sets, {chosen}")
    return result


EvaluationSets = tuple[Annotated[SerializeAsAny[EvaluationSetConfig], BeforeValidator(_evaluation_set)], ...]
"""Evaluation sets, each chosen by ``type``."""


class EvaluationConfig(Section):
    """Settings of the stage that evaluates one model."""

    splits: tuple[str, ...] = (CHOICE_SPLIT, REPORT_SPLIT, "ood")
    """Splits to answer. One that the dataset lacks is left out, except ``test``."""
    # Left out of identities if empty, so that evaluations without sets keep their cache keys.
    sets: EvaluationSets = Field(default=(), exclude_if=lambda sets: not sets)
    """Named evaluation sets to answer and report next to the splits."""
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
        labels = [each.label for each in self.sets]
        for label in labels:
            # Predictions of splits and sets are stored in one file and distinguished by this name alone.
            if label in SPLITS or labels.count(label) > 1:
                taken = "a split of the dataset" if label in SPLITS else "another evaluation set"
                raise ValueError(f"sets: the name {label!r} is taken by {taken}; give the set a different name")
        return self

    def inputs(self) -> dict[str, Path]:
        """Return the files and folders that the evaluation sets read, under ``<name of the set>/<key>``."""
        return {f"{each.label}/{key}": path for each in self.sets for key, path in each.inputs().items()}
