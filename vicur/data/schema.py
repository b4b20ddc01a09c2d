"""What an example is, and what a dataset folder says about itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from vicur.config.data import SPLITS

SCHEMA_VERSION = 1
"""Raised when a folder written by an earlier version can no longer be read as it is."""


def _readable(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "is blank")
    # JSON can spell half a character (a lone surrogate), which no file in UTF-8 can hold.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("surrogate", "holds half a character (a lone surrogate)")
    return text


def _known_split(split: str) -> str:
    if split not in SPLITS:
        raise PydanticCustomError("split", "{split} is no split", {"split": repr(split)})
    return split


def _json_values(metadata: dict[str, Any]) -> dict[str, Any]:
    encode_metadata(metadata)
    return metadata


Text = Annotated[str, AfterValidator(_readable)]
"""A string with something to read in it."""
SplitName = Annotated[str, AfterValidator(_known_split)]
"""One of ``vicur.config.data.SPLITS``."""
Metadata = Annotated[dict[str, Any], AfterValidator(_json_values)]
"""A JSON object."""


def encode_metadata(metadata: dict[str, Any]) -> str:
    """Metadata as one line of JSON, the same for equal metadata.

    Raises:
        PydanticCustomError: where it holds anything but JSON values.
    """
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PydanticCustomError(
            "metadata", "holds something that JSON does not have: {why}", {"why": str(error)}
        ) from error
    return text


class Example(BaseModel):
    """One question about images. The same for every dataset; what is special to one goes into ``metadata``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    id: Text
    """Unique in the dataset."""
    images: tuple[bytes, ...]
    """Encoded files (PNG or JPEG), in the order in which the prompt shows them. May be empty."""
    question: Text
    choices: tuple[Text, ...] = ()
    """What a multiple-choice question offers, in the order A, B, C, ...; empty for an open question."""
    answer: Text
    """The final answer that a response is checked against. Of a multiple-choice question: one of the choices, or its letter."""
    rationale: str | None = None
    """How the answer follows."""
    cue: str | None = None
    """What is to be seen in the image that the question asks for."""
    source: str
    """Where the example comes from."""
    split: SplitName
    """What it is used for."""
    metadata: Metadata = {}
    """JSON values. Known keys: ``group``, ``kind``, ``reference`` (a whole right response), ``evidence``, ``scene``."""

    @field_validator("answer")
    @classmethod
    def _answer_is_offered(cls, answer: str, info: ValidationInfo) -> str:
        choices = info.data.get("choices", ())
        letters = [chr(ord("A") + place) for place in range(len(choices))]
        if choices and answer not in (*choices, *letters):
            raise PydanticCustomError("choice", "{answer} is none of the choices", {"answer": repr(answer)})
        return answer

    @property
    def group(self) -> str:
        """The unit to resample: examples of one group (questions about one scene) are not independent."""
        return str(self.metadata.get("group", self.id))

    @property
    def kind(self) -> str:
        """The kind of question, by which results are broken down."""
        return str(self.metadata.get("kind", "all"))


class Shard(BaseModel):
    """One parquet file of a dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    file: str
    """Name in the dataset's folder."""
    split: SplitName
    """Split of all its rows."""
    rows: int
    """How many examples it holds."""
    sha256: str
    """Hash of its bytes, in hex."""


class Manifest(BaseModel):
    """What ``manifest.json`` says. Holds no time and no path of a machine: equal datasets have equal manifests."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    """Version of the rows and of this file."""
    source: dict[str, Any]
    """The configuration that the dataset was made with."""
    seed: int | None
    """Root seed that it was drawn with; none where nothing is drawn."""
    examples: dict[str, int]
    """Number of examples by split."""
    skipped: int
    """Rows of the source that were unusable. They are listed in ``skipped.jsonl``."""
    shards: list[Shard]
    """The files, in the order in which they are read."""


_REMEDIES = {
    "missing": "Add the field to the row.",
    "extra_forbidden": "Remove the field, or move it into metadata.",
    "blank": "Fill the field in.",
    "string_type": 'Write it as text ("12", not 12).',
    "split": f"Use one of {', '.join(SPLITS)}.",
    "choice": "Give the text of a choice, or its letter (A is the first).",
}


class Fault(BaseModel):
    """Why one row is unusable."""

    field: str
    """The field at fault, with the place in it (``choices[2]``); empty where the row as a whole is."""
    reason: str
    remedy: str

    @classmethod
    def of(cls, error: ValidationError) -> Fault:
        """The first fault of a row that pydantic refused."""
        first = error.errors(include_url=False, include_input=False)[0]
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        reason = first["msg"][0].lower() + first["msg"][1:]
        return cls(field=name, reason=reason, remedy=_REMEDIES.get(first["type"], "Correct the field."))
