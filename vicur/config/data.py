"""The source of the dataset: the embedded digit scenes, a user's own folder, or storage that every machine can reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vicur.config.address import S3_ADDRESS, DatasetHash, S3Address, folder_hash
from vicur.config.formats import SPLITS, AnswerIndex, Columns, FieldName, FormatName, Split, Splits
from vicur.config.prompts import (
    CHOICES_TEMPLATE,
    PixelBudgets,
    PromptConfig,
    checked_system_prompt,
    checked_template,
)
from vicur.config.section import Section

__all__ = [
    "PROMPT_SETTINGS",
    "SPLITS",
    "DataConfig",
    "DigitScenesConfig",
    "Distortion",
    "FolderConfig",
    "HubConfig",
    "ImportConfig",
    "PinnedConfig",
    "Pool",
    "RemoteConfig",
    "SourceConfig",
    "Split",
]

# Number of images of the rarest digit in scikit-learn's load_digits.
_IMAGES_PER_CLASS = 174


PROMPT_SETTINGS = ("pixels", "system_prompt", "choices_template")
"""Settings of the section ``data`` that shape prompts and not the dataset."""


class SourceConfig(Section):
    """A source of the dataset. Each has a class in :mod:`vicur.data.sources` that reads it."""

    type: str
    # These three do not change the prepared dataset, so its identity and its manifest leave them out.
    pixels: PixelBudgets = Field(default=PixelBudgets(), exclude_if=lambda pixels: bool(pixels == PixelBudgets()))
    """Size of images in prompts, in pixels: ``{min: 3584, max: 401408}`` for all prompts, or ``{evaluation: {max: 401408}}`` for those of
    one use (``student``, ``teacher``, ``evaluation``). Default: that of the checkpoint."""
    system_prompt: str | None = Field(default=None, exclude_if=lambda text: text is None)
    """System message of all prompts, such as ``You are a helpful assistant.`` Default: none."""
    choices_template: str = Field(
        default=CHOICES_TEMPLATE, exclude_if=lambda template: bool(template == CHOICES_TEMPLATE)
    )
    """Question and choices in all prompts, unless the question already lists the choices. The line with ``{letter}`` and ``{choice}`` is
    repeated for each choice."""

    @field_validator("pixels", mode="before")
    @classmethod
    def _null_is_default(cls, pixels: Any) -> Any:
        return {} if pixels is None else pixels

    @field_validator("system_prompt")
    @classmethod
    def _system_prompt(cls, text: str | None) -> str | None:
        return checked_system_prompt(text)

    @field_validator("choices_template")
    @classmethod
    def _template(cls, template: str) -> str:
        return checked_template(template)

    @property
    def prompts(self) -> PromptConfig:
        """The settings of prompts."""
        return PromptConfig(system=self.system_prompt, choices_template=self.choices_template, pixels=self.pixels)

    def identity(self) -> dict[str, Any]:
        """Return the settings that the prepared dataset depends on."""
        return self.source().model_dump(mode="json")

    def source(self) -> Self:
        """Return the section without the settings of prompts."""
        defaults = {name: type(self).model_fields[name].default for name in PROMPT_SETTINGS}
        return self.model_copy(update=defaults)

    def with_prompts_of(self, other: SourceConfig) -> Self:
        """Return this source with the settings of prompts of another one."""
        return self.model_copy(update={name: getattr(other, name) for name in PROMPT_SETTINGS})


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


# Settings of an import that its result does not depend on.
NO_EFFECT = {"processes"}

Duplicates = Literal["drop", "report", "off"]
"""What happens to a training example whose question is also held out."""


class ImportConfig(SourceConfig):
    """How the files of a user's source are read, and how much of them may be unusable."""

    format: FormatName = "auto"
    """Layout of the files. ``auto`` recognises it, and is refused if several layouts are possible (``vicur data inspect`` explains)."""
    files: tuple[str, ...] = ()
    """Data files to read, relative to the folder, with wildcards (``data/*.jsonl``). If empty, all files of the format are read."""
    subset: str = ""
    """Configuration of a Hugging Face dataset, if it has several."""
    fields: dict[FieldName, Columns] = Field(default_factory=dict)
    """Columns of our fields, for columns that are not recognised by their names: ``{question: query, answer: [gt, label]}``. A name may be
    a path into nested columns (``extra_info.answer``), a pattern for several columns (``image_*``), or a list of alternatives."""
    question: str = ""
    """Question about images in folders of classes (``train/cat/1.jpg``), whose answer is the name of the folder."""
    # Left out if it is not set, so that datasets from before this setting keep their identity.
    answer_index: AnswerIndex = Field("auto", exclude_if=lambda index: bool(index == "auto"))
    """Number by which answers name the first choice: 0, 1, or ``none`` if numbers are texts only. ``auto`` decides it by all rows, and is
    refused if these do not say it."""
    splits: Splits = Field(default_factory=dict)
    """Splits by the source's names for them (``{train: distill, minitest: test, junk: null}``), or shares by which all rows are shared out
    by group (``{distill: 0.8, validation: 0.1, test: 0.1}``). If empty, known names are mapped and missing splits are shared out."""
    required_splits: tuple[Split, ...] = ("distill", "validation", "test")
    """Splits that the dataset must have, because later stages need them. A dataset only for ``vicur evaluate`` needs ``[test]``."""
    max_skipped_share: float = Field(0.02, ge=0, le=1)
    """Largest share of unusable rows. They are skipped and listed in ``skipped.jsonl``; a larger share fails the stage."""
    processes: int = Field(0, ge=0, le=256)
    """Processes that read the rows and write the shards, each with about 200 MB of memory. 0 takes one per CPU, up to eight. The dataset
    does not depend on it."""
    max_pixels: int = Field(64_000_000, gt=0, le=178_956_970)
    """Largest image in pixels. A larger one is not decoded, because a small file can decompress to more than the memory holds."""
    max_prompt_tokens: int = Field(8192, ge=1)
    """Longest text of a prompt, for the student and for the teacher with any hint that the row offers. Rows that are certainly longer with
    any tokenizer are skipped; the exact limits are ``training.max_prompt_tokens`` and ``evaluation.max_prompt_tokens``."""
    duplicates: Duplicates = "drop"
    """``drop`` leaves training examples out that ask the same about the same image as a held-out example, ``report`` only lists them.
    ``off`` also does not look for near-duplicates of images."""

    def identity(self) -> dict[str, Any]:
        return {name: value for name, value in super().identity().items() if name not in NO_EFFECT}


class FolderConfig(ImportConfig):
    """A user's own dataset: a folder of data files in one of the formats, and the images that they name."""

    type: Literal["folder"] = "folder"
    path: Path
    """Folder with the data files. Paths of images are relative to it."""

    def inputs(self) -> dict[str, Path]:
        return {"source": self.path}


class PinnedConfig(ImportConfig):
    """A folder that DVC has pushed, by its hash: a source as for :class:`FolderConfig`, or a prepared dataset.

    Fetching it needs neither DVC nor git.
    """

    type: Literal["pinned"] = "pinned"
    hash: DatasetHash
    """DVC's hash of the folder, ``<md5>.dir``: the value of ``md5`` in its ``.dvc`` file. It identifies the dataset."""
    remote: str = Field(min_length=1)
    """DVC remote: an S3 address (``s3://bucket/prefix``) or a folder."""

    @field_validator("remote")
    @classmethod
    def _reachable(cls, remote: str) -> str:
        if "://" in remote and not re.fullmatch(S3_ADDRESS, remote):
            raise ValueError("is neither an S3 address (s3://bucket/prefix) nor a folder")
        return remote

    def identity(self) -> dict[str, Any]:
        # The hash identifies the data wherever they are stored.
        return {name: value for name, value in super().identity().items() if name != "remote"}


class RemoteConfig(ImportConfig):
    """A folder on S3: a source as for :class:`FolderConfig`, or a prepared dataset."""

    type: Literal["remote"] = "remote"
    uri: S3Address
    """Address of the folder, ``s3://bucket/prefix``."""
    hash: str = ""
    """DVC's hash that the folder must have. If empty, the folder's current content is used."""

    @field_validator("hash")
    @classmethod
    def _of_a_folder(cls, text: str) -> str:
        return text and folder_hash(text)

    def identity(self) -> dict[str, Any]:
        # The data are identified by the hash, or by S3's listing, which is an input of the stage.
        return {name: value for name, value in super().identity().items() if name != "uri"}


class HubConfig(ImportConfig):
    """A dataset on the Hugging Face Hub: its data files at one commit. A loading script in it is neither fetched nor run."""

    type: Literal["hub"] = "hub"
    repository: str
    """Name of the dataset, ``owner/name``."""
    revision: str
    """Commit, as 40 hex digits: ``vicur data inspect hf://owner/name`` prints the newest. It identifies the data."""

    @field_validator("repository")
    @classmethod
    def _has_an_owner(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
            raise ValueError("is not the name of a dataset on the Hub: write owner/name")
        return name

    @field_validator("revision")
    @classmethod
    def _is_a_commit(cls, revision: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{40}", revision):
            raise ValueError("is not a commit, which has 40 hex digits: a branch or tag can be moved")
        return revision


def _section_of_reference(values: Any) -> Any:
    """Read ``data: /mnt/questions`` (or an address) as the section that :func:`dataset_reference` makes of it."""
    if not isinstance(values, Mapping) or not isinstance(text := values.get("type"), str):
        return values
    if not re.match(r"[./~]|[a-z0-9]+://|[0-9a-fA-F]{32}(\.dir)?@|[^@:]*/", text):
        return values
    # It imports this module.
    from vicur.config.dataset_reference import dataset_section

    return {**dataset_section(text), **{name: each for name, each in values.items() if name != "type"}}


DataConfig = Annotated[
    DigitScenesConfig | FolderConfig | PinnedConfig | RemoteConfig | HubConfig,
    Field(discriminator="type"),
    BeforeValidator(_section_of_reference),
]
"""Source of the dataset, chosen by ``type``. In its place, the path or address of a dataset may be written."""
