"""Visual question answering with questions, annotations and images in separate files.

- ``vqa``: VQA v1 and v2, OK-VQA: ``*_questions.json`` and ``*_annotations.json``, joined by ``question_id``
- ``docvqa``: DocVQA, TextVQA, ST-VQA: ``{"data": [{"question", "answers", ...}]}``
- ``chartqa``: ``train/train_human.json`` with ``imgname``, ``query`` and ``label``, and ``train/png``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vicur.data.formats.beginnings import kept_by_file, outline
from vicur.data.formats.documents import DocumentLayout, as_object, document, entries_in, file_named, first_objects
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.row_values import most_frequent
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError

_UNANSWERED = "has no annotations, as questions of a test split"


@register
class VqaFormat(DocumentLayout):
    """Questions in one file, and annotations in another one with the same name but for the word "annotations"."""

    name = "vqa"
    description = "VQA: *_questions.json and *_annotations.json, images by image_id"

    def data_files(self, folder: SourceFolder) -> list[str]:
        return list(_annotated(folder))

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:
        return {name: _UNANSWERED for name in _with_list(folder, "questions") if name not in _annotated(folder)}

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        annotated = _annotated(folder).get(name)
        if annotated is None:
            raise VicurError(
                f"{_UNANSWERED}.",
                where=str(folder.path / name),
                remedy="Add the file of annotations, or correct data.files.",
            )
        answers = _answers(folder, annotated)
        questions = entries_in(folder, name, "questions")
        subtype = str(document(folder, name).get("data_subtype") or "")
        return [(question, answers, subtype) for question in questions]

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        question, answers, subtype = as_object(entry[0]), entry[1], entry[2]
        found = answers.get(question.get("question_id"))
        if found is None:
            raise UnusableRowError("question_id", "has no annotation", "Add it, or leave the question out.")
        found = as_object(found)
        return {
            "id": question.get("question_id"),
            "question": question.get("question"),
            "choices": question.get("multiple_choices"),
            "answer": found.get("multiple_choice_answer") or most_frequent(found.get("answers")),
            "images": [_image(folder, question, subtype)],
            "kind": found.get("answer_type"),
            "metadata": {key: found[key] for key in ("question_type",) if key in found},
        }


@kept_by_file(2)
def _answers(folder: SourceFolder, name: str) -> dict[Any, Any]:
    """Return the annotations of a file by the id of their question."""
    found = [each for each in entries_in(folder, name, "annotations") if isinstance(each, dict)]
    return {key: each for each in found if isinstance(key := each.get("question_id"), int | str)}


def _annotated(folder: SourceFolder) -> dict[str, str]:
    """Return the file of annotations of each file of questions."""
    annotations = {_key(name): name for name in _with_list(folder, "annotations")}
    return {name: annotations[_key(name)] for name in _with_list(folder, "questions") if _key(name) in annotations}


def _with_list(folder: SourceFolder, key: str) -> list[str]:
    # The names of the released files say what they hold; their content confirms it.
    named = [name for name in folder.ending(".json") if key in name.rpartition("/")[2].lower()]
    return [
        name for name in named if isinstance(start := outline(folder, name), dict) and isinstance(start.get(key), list)
    ]


def _key(name: str) -> str:
    """Return the name of a file without the words that tell questions and annotations apart."""
    key = name.lower()
    for word in ("openended", "multiplechoice", "questions", "annotations", ".json"):
        key = key.replace(word, "")
    return "/".join(part.strip("_-") for part in key.replace("__", "_").split("/"))


def _image(folder: SourceFolder, row: Mapping[str, Any], subtype: str) -> str:
    named = row.get("image") or row.get("image_filename") or row.get("file_name")
    if isinstance(named, str):
        return named
    number = row.get("image_id")
    if not isinstance(number, int):
        return file_named(folder, f"{number}.jpg", f"{number}.png", str(number))
    coco = f"COCO_{subtype}_{number:012}.jpg"
    names = (f"{number:012}.jpg", f"{number}.jpg", f"{number}.png", f"{number:012}.png")
    return file_named(folder, *((coco, *names) if subtype else names))


@register
class DocVqaFormat(DocumentLayout):
    """An object with the list ``data``. Of several answers, the most frequent counts; all are kept in ``metadata.answers``."""

    name = "docvqa"
    description = 'DocVQA, TextVQA: {"data": [{"question", "answers", "image" or "image_id"}]}'

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name, is_answered in _asked(folder).items() if is_answered]

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:
        return {name: _UNANSWERED for name, is_answered in _asked(folder).items() if not is_answered}

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name, "data")

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        row = as_object(entry)
        kinds = row.get("question_types")
        return {
            "id": row.get("questionId", row.get("question_id")),
            "question": row.get("question"),
            "answer": most_frequent(row.get("answers")),
            "images": [_image(folder, row, "")],
            "kind": kinds[0] if isinstance(kinds, list) and len(kinds) == 1 else None,
            "metadata": {"answers": row["answers"]} if isinstance(row.get("answers"), list) else {},
        }


def _asked(folder: SourceFolder) -> dict[str, bool]:
    """Return the files with a list of questions, and whether these have answers."""
    found = {}
    for name in folder.ending(".json"):
        questions = [each for each in first_objects(folder, name, "data") if "question" in each]
        if questions:
            found[name] = any("answers" in each for each in questions)
    return found


@register
class ChartQaFormat(DocumentLayout):
    """ChartQA: questions of people and augmented ones for each split, and the charts in ``png``."""

    name = "chartqa"
    description = "ChartQA: SPLIT/SPLIT_human.json, SPLIT_augmented.json (imgname, query, label) and SPLIT/png"

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if any(map(_is_chart, first_objects(folder, name)))]

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name)

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        row = as_object(entry)
        beside, _, last = name.rpartition("/")
        return {
            "question": row.get("query"),
            "answer": row.get("label"),
            "images": [f"{beside}/png/{row.get('imgname')}".lstrip("/")],
            "kind": "human" if "human" in last else "augmented",
        }


def _is_chart(row: Mapping[str, Any]) -> bool:
    return {"imgname", "query", "label"} <= row.keys()
