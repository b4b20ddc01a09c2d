"""Compositional questions about scenes: CLEVR and GQA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.beginnings import outline
from vicur.data.formats.documents import DocumentLayout, as_object, document, file_named, listed_rows
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault

_HIDDEN = "has no answers, as questions of a test split"


@register
class ClevrFormat(DocumentLayout):
    """CLEVR v1.0, and datasets in its form such as CLEVR-CoGenT."""

    name = "clevr"
    description = "CLEVR: questions/CLEVR_SPLIT_questions.json and images/SPLIT/*.png"

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if "answer" in _first_question(folder, name)]

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:
        asked = {name: _first_question(folder, name) for name in folder.ending(".json")}
        return {name: _HIDDEN for name, first in asked.items() if first and "answer" not in first}

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        for each in listed_rows(document(folder, name)["questions"], "questions"):
            row = as_object(each)
            if isinstance(row, Fault):
                yield row
                continue
            program = row.get("program") or [{}]
            last = program[-1] if isinstance(program, list) and isinstance(program[-1], dict) else {}
            image, split = row.get("image_filename"), row.get("split")
            yield {
                "id": f"{split}/{row['question_index']}" if "question_index" in row else None,
                "question": row.get("question"),
                "answer": row.get("answer"),
                "images": [file_named(folder, f"images/{split}/{image}", f"{image}")],
                "split": split,
                "kind": last.get("function") or last.get("type"),
            }


def _first_question(folder: SourceFolder, name: str) -> Mapping[str, Any]:
    start = outline(folder, name)
    rows = start.get("questions") if isinstance(start, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return first if isinstance(first, dict) and {"image_filename", "question"} <= set(first) else {}


@register
class GqaFormat(DocumentLayout):
    """GQA: an object of questions by id."""

    name = "gqa"
    description = "GQA: questions/SPLIT_balanced_questions.json (question, answer, imageId) and images/ID.jpg"

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if "answer" in _first_value(folder, name)]

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:
        asked = {name: _first_value(folder, name) for name in folder.ending(".json")}
        return {name: _HIDDEN for name, first in asked.items() if first and "answer" not in first}

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        questions = document(folder, name)
        for identifier, each in questions.items():
            row = as_object(each)
            if isinstance(row, Fault):
                yield row
                continue
            types = row.get("types")
            yield {
                "id": identifier,
                "question": row.get("question"),
                "answer": row.get("answer"),
                "images": [file_named(folder, f"{row.get('imageId')}.jpg", f"{row.get('imageId')}.png")],
                "kind": types.get("structural") if isinstance(types, dict) else None,
                "metadata": {"full_answer": row["fullAnswer"]} if row.get("fullAnswer") else {},
            }


def _first_value(folder: SourceFolder, name: str) -> Mapping[str, Any]:
    start = outline(folder, name)
    first = next(iter(start.values()), None) if isinstance(start, dict) else None
    return first if isinstance(first, dict) and {"question", "imageId"} <= set(first) else {}
