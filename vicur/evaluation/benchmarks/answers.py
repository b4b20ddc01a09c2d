"""Answers of one model to one benchmark: a parquet file with a row per question, and what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vicur.data import read_manifest
from vicur.data.parquet import write_table
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.staging import SOURCE

ANSWERS = "answers.parquet"
RECORD = "answers.json"
FILES = (RECORD, ANSWERS)
"""Files of a folder of answers. The first one marks it as complete."""
_REMEDY = "Run vicur benchmarks answer again."


class Answer(BaseModel, frozen=True):
    """A question's response."""

    id: str
    response: str
    tokens: int
    finished: bool
    """Whether the response ended by itself rather than at the maximum length."""
    unanswered: str | None = None
    """Why the question was not asked; ``None`` if it was."""


class AnswerRecord(BaseModel, frozen=True):
    """Content of ``answers.json``."""

    benchmark: str
    dataset: str
    """SHA-256 of the dataset's manifest."""
    model: str
    """SHA-256 of the model's files."""
    method: str
    """Training method of a student, or ``base``."""
    settings: dict[str, Any]
    """Sampling, prompts and seed."""

    @property
    def identity(self) -> str:
        """Hash of everything that the answers depend on."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def staged_benchmark(dataset: Path) -> str:
    """Return the name of the benchmark that a dataset was staged from.

    Raises:
        VicurError: if it was not.
    """
    source = read_manifest(dataset).source
    if source.get("type") != SOURCE or not isinstance(source.get("name"), str):
        raise VicurError("is not a staged benchmark.", where=str(dataset), remedy="Stage it: vicur benchmarks stage.")
    return str(source["name"])


def manifest_sha256(dataset: Path) -> str:
    """Return the hash of a dataset's manifest, which has the hashes of its shards."""
    return hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()


def write_answers(answers: Sequence[Answer], record: AnswerRecord, folder: Path) -> None:
    """Write a folder of answers, one row per question, in their order."""
    import pyarrow as pa

    types = {"id": pa.string(), "response": pa.string(), "tokens": pa.int64(), "finished": pa.bool_()}
    schema = pa.schema([*types.items(), ("unanswered", pa.string())])
    # A model may generate half a character, which UTF-8 cannot encode.
    rows = [
        {**answer.model_dump(), "response": answer.response.encode("utf-8", "replace").decode()} for answer in answers
    ]
    write_table(pa.Table.from_pylist(rows, schema), folder / ANSWERS)
    (folder / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_answers(folder: Path) -> tuple[AnswerRecord, list[Answer]]:
    """Read a folder of answers.

    Raises:
        VicurError: if it is incomplete or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    record = read_record(folder)
    try:
        return record, [Answer.model_validate(row) for row in pq.read_table(folder / ANSWERS).to_pylist()]
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(folder / ANSWERS), remedy=_REMEDY
        ) from error


def read_record(folder: Path) -> AnswerRecord:
    """Read what a folder of answers depends on.

    Raises:
        VicurError: if it is incomplete or damaged.
    """
    try:
        return AnswerRecord.model_validate(json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(folder / RECORD), remedy=_REMEDY
        ) from error
