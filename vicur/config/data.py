"""The source of the dataset: the embedded digit scenes, a user's own folder, or storage that every machine can reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from vicur.config.address import S3_ADDRESS, DatasetHash, S3Address, folder_hash
from vicur.config.data_source import PROMPT_SETTINGS, SourceConfig
from vicur.config.digit_scenes import DigitScenesConfig, Distortion, Pool
from vicur.config.formats import SPLITS, AnswerIndex, Columns, FieldName, FormatName, Split, Splits
from vicur.config.video import VideoConfig, is_default

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
    """Question about images and videos in folders of classes (``train/cat/1.jpg``), whose answer is the name of the folder, and of rows
    that have no question."""
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
    # Left out of identities and manifests by default, so that datasets from before this setting keep their hashes.
    video: VideoConfig = Field(default=VideoConfig(), exclude_if=is_default)
    """How frames are sampled from videos, with the defaults of Qwen3-VL."""
    max_prompt_tokens: int = Field(8192, ge=1)
    """Longest text of a prompt, for the student and for the teacher with any hint that the row offers. Rows that are certainly longer with
    any tokenizer are skipped; the exact limits are ``training.max_prompt_tokens`` and ``evaluation.max_prompt_tokens``."""
    duplicates: Duplicates = "drop"
    """``drop`` leaves training examples out that have image and question of a held-out example, ``report`` only lists them.
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
