"""Settings of the evaluation of one model."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from vicur.config.address import DATASET_HASH
from vicur.config.allowed import Form
from vicur.config.blind import BlindConfig
from vicur.config.data import SPLITS, Split
from vicur.config.decoding import ROLLOUT_TOKENS, Decoding, GreedyDecoding
from vicur.config.prompts import PromptConfig, is_default
from vicur.config.repeats import RepeatsConfig
from vicur.config.sampling import Sampling
from vicur.config.section import Section
from vicur.config.splits import listing
from vicur.config.validation import validated
from vicur.wording import listed

MAX_PROMPT_TOKENS = 32_768
CHOICE_SPLIT: Split = "validation"
"""The split that the best method is chosen on."""
REPORT_SPLIT: Split = "test"
"""The split that results are reported on and that the gate looks at."""


BenchmarkName = Literal["vision-r1", "dynamath", "mathvista", "wemath", "mathverse", "mmmu", "videomme"]
"""Name of a benchmark of the paper (:mod:`vicur.evaluation.benchmarks.registry`)."""


class EvaluationSetConfig(Section):
    """Settings of a named evaluation set: questions that are answered and reported next to the dataset's splits.

    A subclass gives ``type`` a literal with a default and is listed in :data:`SET_CONFIGS`. Its questions are read by the
    class of the same ``type`` in :mod:`vicur.evaluation.sets`.
    """

    type: str
    """Type of the set."""
    name: Annotated[str, Form("a name of at most 41 lower-case letters, digits, dashes and underscores")] = Field(
        default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,40})?$"
    )
    """Name of the set in metrics, predictions and the report. Empty uses the type as the name."""

    @property
    def label(self) -> str:
        """Name of the set."""
        return self.name or self.type


class BenchmarkSetConfig(EvaluationSetConfig):
    """One of the paper's benchmarks. Steps of its own answer and score it, with the settings in the section ``benchmarks``."""

    type: Literal["benchmark"] = "benchmark"
    name: BenchmarkName
    """Name of the benchmark (``vicur benchmarks list``)."""
    path: str = Field(min_length=1)
    """Folder that ``vicur benchmarks stage`` wrote, or the address ``s3://bucket/prefix`` of its files."""
    hash: Annotated[str, Form("the hash that vicur benchmarks stage prints, 32 hex digits and .dir")] = Field(
        pattern=DATASET_HASH
    )
    """Hash that ``vicur benchmarks stage`` printed. Other content at ``path`` is refused."""

    @property
    def has_harness(self) -> bool:
        """Whether the benchmark's harness scores it; the others are scored by rules."""
        return self.name != "vision-r1"


SET_CONFIGS: tuple[type[EvaluationSetConfig], ...] = (BenchmarkSetConfig,)
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

    splits: Annotated[
        tuple[Split, ...], AfterValidator(listing(REPORT_SPLIT, "the split that results are reported on"))
    ] = (CHOICE_SPLIT, REPORT_SPLIT, "ood")
    """Splits to evaluate on. Splits that the dataset does not have are skipped, except ``test``, which is required."""
    # Left out of identities if empty, so that evaluations without sets keep their cache keys.
    sets: EvaluationSets = Field(default=(), exclude_if=lambda sets: not sets)
    """Named evaluation sets to answer and report next to the splits."""
    decoding: Decoding = GreedyDecoding()
    """Decoding strategy."""
    # Left out of identities if it is the default, because it changes no result.
    max_prompt_tokens: int = Field(
        default=MAX_PROMPT_TOKENS, ge=1, exclude_if=lambda tokens: tokens == MAX_PROMPT_TOKENS
    )
    """Longest prompt, with its images. A question with a longer one gets no response and counts as answered incorrectly."""
    max_unanswered_share: float = Field(default=0.02, ge=0, le=1, exclude_if=lambda share: share == 0.02)
    """Share of a split's questions whose prompt may be too long. Above it, the stage fails before the first response."""
    batch_size: int = Field(default=128, ge=1)
    """Questions per forward pass; fewer if a GPU has too little free memory. Responses differ by rounding at most."""
    max_examples: int | None = Field(default=None, ge=1)
    """Maximum number of questions of each split, counted from its start. ``None`` evaluates all."""
    cue_recovery: bool = True
    """Use the student's cue recovery module. If it is off, the student computes exactly what its backbone computes, so the
    difference in accuracy is the module's contribution."""
    # Left out of identities if nothing is measured, so that earlier evaluations keep their cache keys.
    blind: BlindConfig = Field(default=BlindConfig(), exclude_if=lambda blind: not blind.views)
    """Accuracy without the image."""
    repeats: RepeatsConfig = Field(default=RepeatsConfig(), exclude_if=lambda repeats: not repeats.count)
    """Several sampled responses to each question."""
    latency_examples: int = Field(default=0, ge=0, le=10_000, exclude_if=lambda count: count == 0)
    """Number of test questions to answer one at a time, to measure the seconds per response. 0 measures none. Needs an idle machine."""
    attention_samples: int = Field(default=8, ge=0)
    """Number of questions to record the sink attention of, for models with the cue recovery module."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on. ``auto`` uses a GPU if there is one."""
    image_threads: int = Field(default=2, ge=0)
    """Threads that decode the images of the next questions while the model answers; 0 decodes them when they are needed."""
    processes: int = Field(default=0, ge=0, le=64)
    """Processes that answer the questions, each with the model on its GPU; 0: one for each GPU that is visible, one on a CPU. The
    responses do not depend on it."""
    threads: int = Field(default=1, ge=0)
    """CPU threads; 0 uses PyTorch's default. On few cores, several processes are faster than several threads."""
    prompts: PromptConfig = Field(default=PromptConfig(), exclude_if=is_default)
    """Settings of prompts, from the section ``data``."""

    # Set from the section training, so that a stage needs its own section only.
    rollout_tokens: int = Field(default=ROLLOUT_TOKENS, ge=1, exclude_if=lambda tokens: bool(tokens == ROLLOUT_TOKENS))
    """Maximum length of a rollout, which is that of a response if the decoding sets none."""

    @property
    def benchmarks(self) -> tuple[BenchmarkSetConfig, ...]:
        """The paper's benchmarks among the evaluation sets."""
        return tuple(each for each in self.sets if isinstance(each, BenchmarkSetConfig))

    def held_out(self) -> EvaluationConfig:
        """Return these settings without benchmarks, whose steps are others."""
        rest = tuple(each for each in self.sets if not isinstance(each, BenchmarkSetConfig))
        return self if rest == self.sets else self.model_copy(update={"sets": rest})

    @property
    def sampling(self) -> Sampling:
        """Sampling parameters of the responses."""
        return self.decoding.sampling_within(self.rollout_tokens)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = [each.label for each in self.sets]
        for label in labels:
            # Predictions of splits and sets are stored in one file and distinguished by this name alone.
            if label in SPLITS or labels.count(label) > 1:
                taken = "a split of the dataset" if label in SPLITS else "another evaluation set"
                raise ValueError(f"sets: the name {label!r} is taken by {taken}; give the set a different name")
        return self

    def needed_for(self, figure: str) -> str:
        """Return the setting that is missing to measure a figure of the gate (``test/blind/no_image/accuracy``), or an empty string."""
        parts = figure.split("/")
        if parts[0] == "bench" and not any(fnmatchcase(each.label, parts[1]) for each in self.benchmarks if parts[1:]):
            return "evaluation.sets (a benchmark, docs/paper-benchmarks.md)"
        if parts[0] == "latency" and not self.latency_examples:
            return "evaluation.latency_examples (such as 30)"
        if "blind" in parts[1:2] and not any(
            fnmatchcase(view, each) for view in self.blind.views for each in parts[2:3]
        ):
            return f"evaluation.blind.views (such as [{parts[2] if parts[2:] else '*'}])".replace("*", "no_image")
        if "repeats" in parts[1:2] and not self.repeats.count:
            return "evaluation.repeats.count (such as 8)"
        return ""

    def identity(self) -> dict[str, Any]:
        """Return the settings that the predictions depend on."""
        return self.held_out().model_dump(mode="json", exclude={"image_threads", "processes"})

    def inputs(self) -> dict[str, Path]:
        """Return the files and folders that the evaluation sets read, under ``<name of the set>/<key>``."""
        return {f"{each.label}/{key}": path for each in self.held_out().sets for key, path in each.inputs().items()}
