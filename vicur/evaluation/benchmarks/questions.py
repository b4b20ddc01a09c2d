"""What scoring needs of a staged benchmark: its manifest and columns, without images. Answers carry it, so that scores need no dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vicur.data.dataset import MANIFEST, iter_examples
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.content import KEY
from vicur.evaluation.benchmarks.staging import SPLIT

QUESTIONS = "questions"
"""Folder next to answers with the questions that they answer."""
_ROWS = "questions.jsonl"


@dataclass(frozen=True)
class Question:
    """What scoring needs of a question."""

    id: str
    index: str
    group: str
    kind: str
    columns: dict[str, str]


def questions_of(dataset: Path) -> list[Question]:
    """Return the questions of a staged benchmark, or of a folder that :func:`write_questions` wrote.

    Raises:
        VicurError: if a file is damaged.
    """
    rows = dataset / _ROWS
    if not rows.is_file():
        return list(_read(dataset))
    try:
        return [Question(**json.loads(line)) for line in rows.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise VicurError(
            f"cannot be read ({error}).", where=str(rows), remedy="Run the answers' step again."
        ) from error


def write_questions(dataset: Path, folder: Path) -> None:
    """Write the questions of a staged benchmark, without their images, to a new folder."""
    folder.mkdir()
    shutil.copyfile(dataset / MANIFEST, folder / MANIFEST)
    with (folder / _ROWS).open("w", encoding="utf-8") as file:
        for each in _read(dataset):
            # Escaped, so that no character of a text ends a line.
            file.write(json.dumps(asdict(each)) + "\n")


def _read(dataset: Path) -> Iterator[Question]:
    for example in iter_examples(dataset, SPLIT):
        record = example.metadata[KEY]
        yield Question(example.id, str(record["index"]), example.group, example.kind, record["columns"])
