"""Examples, and the manifest of a dataset folder."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from vicur.answers.choices import canonical_choice
from vicur.config.data import SPLITS

VIDEO: Literal["video"] = "video"
"""Key of ``metadata`` that marks an example about a video."""
SCHEMA_VERSION = 1  # increased whenever folders of earlier versions can no longer be read


def _readable(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "is blank")
    return _encodable(text)


def _encodable(text: str) -> str:
    # JSON can encode a lone surrogate (half of a character), which UTF-8 cannot.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("surrogate", "contains half a character (a lone surrogate)")
    return text


def _known_split(split: str) -> str:
    if split not in SPLITS:
        raise PydanticCustomError("split", "{split} is not a split", {"split": repr(split)})
    return split


class VideoMark(BaseModel):
    """Mark of an example whose images are the frames of one video: the value of ``metadata.video``."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    timestamps: tuple[float, ...]
    """Time of each frame in seconds from the start of the video."""
    fps: float = Field(gt=0)
    """Frames per second of the video that the frames were sampled from."""


def _video_mark(metadata: dict[str, Any]) -> VideoMark | None:
    # Anything else below this name is a user's own value.
    value = metadata.get(VIDEO)
    return VideoMark.model_validate(value) if isinstance(value, dict) and "timestamps" in value else None


def marks_a_video(metadata: str | None) -> bool:
    """Return whether stored metadata are those of a video."""
    # Most have nothing of that name, and need not be parsed.
    return metadata is not None and f'"{VIDEO}"' in metadata and _video_mark(json.loads(metadata)) is not None


def _json_values(metadata: dict[str, Any]) -> dict[str, Any]:
    encode_metadata(metadata)
    return metadata


Text = Annotated[str, AfterValidator(_readable)]
BlankableText = Annotated[str, AfterValidator(_encodable)]
SplitName = Annotated[str, AfterValidator(_known_split)]
Metadata = Annotated[dict[str, Any], AfterValidator(_json_values)]


def encode_metadata(metadata: dict[str, Any]) -> str:
    """Encode metadata as one line of JSON, identical for equal metadata."""
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        text.encode()  # fails for lone surrogates, which json.dumps accepts
    except (TypeError, ValueError, RecursionError) as error:
        raise PydanticCustomError(
            "metadata", "contains a value that JSON cannot represent: {why}", {"why": str(error)}
        ) from error
    return text


class Example(BaseModel):
    """One question about images, with the same fields in every dataset. Fields of a particular dataset go into ``metadata``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    id: Text
    """Unique in the dataset."""
    images: tuple[bytes, ...]
    """Encoded files (PNG or JPEG), in the order in which the prompt shows them. May be empty."""
    question: Text
    choices: tuple[Text, ...] = ()
    """Choices of a multiple-choice question, in the order A, B, C, ...; empty for an open question."""
    answer: Text
    """The final answer that responses are checked against. For a multiple-choice question, one of the choices or its letter."""
    rationale: BlankableText | None = None
    """Reasoning that leads to the answer."""
    cue: BlankableText | None = None
    """Visual evidence in the image that the question refers to."""
    source: BlankableText
    """Origin of the example."""
    split: SplitName
    """One of :data:`~vicur.config.data.SPLITS`."""
    metadata: Metadata = {}
    """JSON values. Known keys: ``group``, ``kind``, ``reference`` (a complete correct response), ``evidence``, ``scene``, and ``video``:
    its ``timestamps`` mark the images as the frames of one video."""

    @field_validator("answer")
    @classmethod
    def _answer_is_offered(cls, answer: str, info: ValidationInfo) -> str:
        choices = info.data.get("choices", ())
        offered = canonical_choice(answer, choices) if choices else answer
        if offered is None:
            raise PydanticCustomError("choice", "{answer} is not one of the choices", {"answer": repr(answer)})
        return offered

    @field_validator("metadata")
    @classmethod
    def _frames_have_times(cls, metadata: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        try:
            video = _video_mark(metadata)
        except ValidationError as error:
            raise PydanticCustomError("video", "has times of a video that are not numbers") from error
        if video is None:
            return metadata
        frames, times = len(info.data.get("images", ())), video.timestamps
        if len(times) != frames:
            raise PydanticCustomError(
                "video",
                "has the times of {times} frames of a video, but the row has {frames} images",
                {"times": len(times), "frames": frames},
            )
        if frames < 2 or min(times) < 0 or any(later < earlier for earlier, later in pairwise(times)):
            raise PydanticCustomError("video", "has times of a video that do not ascend from 0 over at least 2 frames")
        return metadata

    @property
    def video(self) -> VideoMark | None:
        """Return the mark of a video if the images are its frames, otherwise ``None``."""
        return _video_mark(self.metadata)

    @property
    def visuals(self) -> int:
        """Return the number of images, or 1 for a video."""
        return len(self.images) if self.video is None else 1

    def strip_places(self, count: int) -> list[int]:
        """Return the places of the images for a reader. Of a video, these are at most ``count`` frames, spread over it."""
        last = len(self.images) - 1
        if self.video is None or last < count:
            return list(range(last + 1))
        return [round(place * last / max(1, count - 1)) for place in range(count)]

    def strip(self, count: int) -> tuple[bytes, ...]:
        """Return the images at :meth:`strip_places`."""
        return tuple(self.images[place] for place in self.strip_places(count))

    @property
    def group(self) -> str:
        """Return the unit for resampling: examples of one group are not independent.

        Questions about the same images are one group, unless ``metadata`` names another one.
        """
        if "group" in self.metadata:
            return str(self.metadata["group"])
        if not self.images:
            return self.id
        return hashlib.sha256(b"".join(hashlib.sha256(image).digest() for image in self.images)).hexdigest()[:16]

    @property
    def kind(self) -> str:
        """Return the kind of question, by which results are broken down."""
        return str(self.metadata.get("kind", "all"))


class Shard(BaseModel):
    """One parquet file of a dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    file: str
    split: SplitName
    rows: int
    sha256: str


class Manifest(BaseModel):
    """Content of ``manifest.json``. It contains neither times nor local paths, so that equal datasets have equal manifests."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    source: dict[str, Any]
    """Settings that the dataset was made with."""
    seed: int | None
    """Root seed, or ``None`` if the dataset does not depend on one."""
    examples: dict[str, int]
    """Number of examples by split."""
    skipped: int
    """Number of unusable rows of the source, which are listed in ``skipped.jsonl``."""
    shards: list[Shard]


# In place of pydantic's own messages, which are about Python types.
_REASONS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "string_type": "is not text",
    "string_pattern_mismatch": "is not a hash",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "list_type": "is not a list",
    "tuple_type": "is not a list",
    "dict_type": "is not a JSON object",
    "model_type": "is not a JSON object",
    "model_attributes_type": "is not a JSON object",
    "json_invalid": "is not valid JSON",
}
_REMEDIES = {
    "missing": "Add the field to the row.",
    "extra_forbidden": "Remove the field, or move it into metadata.",
    "blank": "Fill the field in.",
    "string_type": 'Write it as text ("12", not 12).',
    "split": f"Use one of {', '.join(SPLITS)}.",
    "choice": "Write the text of a choice, or its letter (A is the first).",
}


class Fault(BaseModel):
    """The reason why one row is unusable."""

    field: str
    """The invalid field, with an index into it (``choices[2]``); empty if the row as a whole is invalid."""
    reason: str
    remedy: str

    @classmethod
    def of(cls, error: ValidationError) -> Fault:
        """Return the first of pydantic's errors about a row."""
        first = error.errors(include_url=False, include_input=False)[0]
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        # Messages of this module's own checks are complete already.
        reason = _REASONS.get(first["type"]) or first["msg"][0].lower() + first["msg"][1:]
        return cls(field=name, reason=reason, remedy=_REMEDIES.get(first["type"], "Correct the field."))


class SkippedRow(Fault):
    """An unusable row of a source."""

    file: str
    """The data file, relative to the source."""
    row: int
    """Line number in a text file, or row number in a table; the first is 1."""
    id: str = Field(default="", exclude_if=lambda name: not name)
    """The row's id, at most 200 characters of it, if it has one."""

    def __str__(self) -> str:
        field = f":{self.field}" if self.field else ""
        return f"{self.file}:row {self.row}{field}: {self.reason}. {self.remedy}"


class UnusableRowError(Exception):
    """Raised while a row is read, if it cannot be used."""

    def __init__(self, field: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.fault = Fault(field=field, reason=reason, remedy=remedy)
