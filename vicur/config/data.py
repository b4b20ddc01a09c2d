"""Where the dataset comes from: the embedded digit scenes, a folder of the user's own, or storage that all machines reach."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vicur.config.address import S3_ADDRESS, DatasetHash, S3Address, folder_hash
from vicur.config.section import Section

SPLITS = ("base", "distill", "validation", "test", "ood")
"""Every split there is: what the tiny base model learns from, what students are distilled on, where settings are
chosen, where the gate and the report look, and the same questions on a harder domain."""

# The rarest digit of scikit-learn's load_digits has so many images.
_IMAGES_PER_CLASS = 174


class SourceConfig(Section):
    """A source of the dataset. Each has a class in :mod:`vicur.data.sources` that reads it."""

    type: str


class Distortion(Section):
    """How far a drawn digit may stray from its handwriting. Whole numbers only: rendering is exact."""

    rotation: int = Field(12, ge=0, le=45)
    """Largest rotation to either side, in degrees."""
    shift: int = Field(1, ge=0, le=4)
    """Largest shift along either axis, in pixels."""
    scale: tuple[int, int] = (85, 105)
    """Smallest and largest size, in percent of the usual one."""
    intensity: tuple[int, int] = (75, 100)
    """Weakest and strongest ink, in percent."""
    stroke: int = Field(0, ge=0, le=80)
    """How much thicker or thinner a stroke may get, in percent of the way that still leaves it readable."""
    noise: int = Field(24, ge=0, le=120)
    """Largest noise on a colour channel of a pixel, of 255."""
    blurred: int = Field(0, ge=0, le=100)
    """Share of digits that are out of focus, in percent."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name in ("scale", "intensity"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is a pair (smallest, largest) in percent above 0, not ({low}, {high})")
        return self


class Pool(Section):
    """One split of the digit scenes: its own handwriting, and how many scenes and questions are made of it."""

    digits_per_class: int = Field(gt=0)
    """Images of each of the ten digits. No image is in two pools."""
    scenes: int = Field(gt=0)
    """Images that are composed from the pool."""
    questions: int = Field(3, ge=1, le=6)
    """Questions about each scene, each of another kind."""
    distortion: Distortion = Distortion()
    """How the digits are drawn."""


class DigitScenesConfig(SourceConfig):
    """The embedded dataset: scenes of six coloured handwritten digits and questions about them."""

    type: Literal["digit_scenes"] = "digit_scenes"
    base: Pool = Pool(digits_per_class=8, scenes=2000)
    """What the tiny base model is trained on: so little handwriting that it reads badly."""
    distill: Pool = Pool(digits_per_class=70, scenes=1350)
    """What students are distilled on."""
    validation: Pool = Pool(digits_per_class=15, scenes=200)
    """Where checkpoints, settings and methods are chosen."""
    test: Pool = Pool(digits_per_class=30, scenes=400)
    """What the gate and the report look at."""
    ood: Pool = Pool(
        digits_per_class=40,
        scenes=200,
        distortion=Distortion(rotation=25, shift=2, scale=(80, 110), stroke=15, noise=48, blurred=50),
    )
    """Handwriting that is distorted more strongly than any that a model was trained on."""

    # Left out of manifests where it is 1, so that datasets without it keep their hashes.
    together: int = Field(1, ge=1, le=6, exclude_if=lambda together: together == 1)
    """Questions about a scene that are asked at once. With more than one the response describes the whole scene and answers each, in about
    24 and 19 tokens each; the last answer counts. The base that ships has not met such questions."""

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by split, in the order in which they take their digit images."""
        return {split: getattr(self, split) for split in SPLITS}

    @model_validator(mode="after")
    def _enough_handwriting(self) -> Self:
        wanted = sum(pool.digits_per_class for pool in self.pools.values())
        if wanted > _IMAGES_PER_CLASS:
            raise ValueError(
                f"the pools want {wanted} images of each digit, and there are {_IMAGES_PER_CLASS}: "
                "lower digits_per_class of a pool"
            )
        return self


class ImportConfig(SourceConfig):
    """How the rows of a source that is not ours are read."""

    max_skipped_share: float = Field(0.02, ge=0, le=1)
    """Share of rows that may be unusable: they are left out and listed in ``skipped.jsonl``. More fail the stage."""
    max_pixels: int = Field(64_000_000, gt=0, le=178_956_970)
    """Largest image that is decoded, in pixels: a small file can unpack to more than the memory holds."""


class FolderConfig(ImportConfig):
    """A dataset of the user's own: ``examples.jsonl`` (or ``examples.parquet``) and the images that it names."""

    type: Literal["folder"] = "folder"
    path: Path
    """Folder that holds the examples file. Images are named relative to it."""

    def inputs(self) -> dict[str, Path]:
        """Return the folder."""
        return {"source": self.path}


class PinnedConfig(ImportConfig):
    """A folder that DVC has pushed, by its hash: a source as of :class:`FolderConfig`, or a dataset that is prepared already.

    Neither DVC nor git is needed to fetch it.
    """

    type: Literal["pinned"] = "pinned"
    hash: DatasetHash
    """DVC's hash of the folder, ``<md5>.dir``: what stands at ``md5:`` in its ``.dvc`` file. It says what the dataset is."""
    remote: str = Field(min_length=1)
    """Where DVC's remote lies: an address on S3 (``s3://bucket/prefix``) or a folder."""

    @field_validator("remote")
    @classmethod
    def _reachable(cls, remote: str) -> str:
        if "://" in remote and not re.fullmatch(S3_ADDRESS, remote):
            raise ValueError("is neither s3://bucket/prefix nor a folder")
        return remote

    def identity(self) -> dict[str, Any]:
        """All but where it lies."""
        return self.model_dump(mode="json", exclude={"remote"})


class RemoteConfig(ImportConfig):
    """A folder on S3: a source as of :class:`FolderConfig`, or a dataset that is prepared already."""

    type: Literal["remote"] = "remote"
    uri: S3Address
    """Address of the folder, ``s3://bucket/prefix``."""
    hash: str = ""
    """DVC's hash that the folder must have; it then says what the dataset is. Empty takes what lies there now."""

    @field_validator("hash")
    @classmethod
    def _of_a_folder(cls, text: str) -> str:
        return text and folder_hash(text)

    def identity(self) -> dict[str, Any]:
        """All but where it lies."""
        return self.model_dump(mode="json", exclude={"uri"})


DataConfig = Annotated[DigitScenesConfig | FolderConfig | PinnedConfig | RemoteConfig, Field(discriminator="type")]
"""Source of the dataset, chosen by ``type``."""
