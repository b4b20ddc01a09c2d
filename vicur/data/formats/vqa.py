"""Visual question answering with questions, annotations and images in separate files.

- ``vqa``: VQA v1 and v2, OK-VQA: ``*_questions.json`` and ``*_annotations.json``, joined by ``question_id``
- ``docvqa``: DocVQA, TextVQA, ST-VQA: ``{"data": [{"question", "answers", ...}]}``
- ``chartqa``: ``train/train_human.json`` with ``imgname``, ``query`` and ``label``, and ``train/png``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.beginnings import outline
from vicur.data.formats.documents import DocumentLayout, as_object, document, file_named, listed_rows
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault

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

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        annotations = document(folder, _annotated(folder)[name])["annotations"]
        answers = {
            each["question_id"]: each for each in annotations if isinstance(each, dict) and "question_id" in each
        }
        asked = document(folder, name)
        for row in listed_rows(asked["questions"], "questions"):
            question = as_object(row)
            if isinstance(question, Fault):
                yield question
                continue
            found = answers.get(question.get("question_id"))
            if found is None:
                yield Fault(
                    field="question_id", reason="has no annotation", remedy="Add it, or leave the question out."
                )
                continue
            yield {
                "id": question.get("question_id"),
                "question": question.get("question"),
                "choices": question.get("multiple_choices"),
                "answer": found.get("multiple_choice_answer") or most_frequent(found.get("answers")),
                "images": [_image(folder, question, str(asked.get("data_subtype") or ""))],
                "kind": found.get("answer_type"),
                "metadata": {key: found[key] for key in ("question_type",) if key in found},
            }


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


def most_frequent(answers: Any) -> str | None:
    """Return the answer that most annotators gave; of several, the one that was given first."""
    if not isinstance(answers, list):
        return None
    texts = [each.get("answer") if isinstance(each, dict) else each for each in answers]
    counts = Counter(text for text in texts if isinstance(text, str) and text.strip())
    return counts.most_common(1)[0][0] if counts else None


@register
class DocVqaFormat(DocumentLayout):
    """An object with the list ``data``. Of several answers, the most frequent counts; all are kept in ``metadata.answers``."""

    name = "docvqa"
    description = 'DocVQA, TextVQA: {"data": [{"question", "answers", "image" or "image_id"}]}'

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if _is_listed(outline(folder, name))]

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:
        names = [name for name in folder.ending(".json") if _is_listed(outline(folder, name), answered=False)]
        return dict.fromkeys(names, _UNANSWERED)

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        for each in listed_rows(document(folder, name)["data"], "data"):
            row = as_object(each)
            if isinstance(row, Fault):
                yield row
                continue
            kinds = row.get("question_types")
            yield {
                "id": row.get("questionId", row.get("question_id")),
                "question": row.get("question"),
                "answer": most_frequent(row.get("answers")),
                "images": [_image(folder, row, "")],
                "kind": kinds[0] if isinstance(kinds, list) and len(kinds) == 1 else None,
                "metadata": {"answers": row["answers"]} if isinstance(row.get("answers"), list) else {},
            }


def _is_listed(start: Any, *, answered: bool = True) -> bool:
    rows = start.get("data") if isinstance(start, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return isinstance(first, dict) and "question" in first and (("answers" in first) is answered)


@register
class ChartQaFormat(DocumentLayout):
    """ChartQA: questions of people and augmented ones for each split, and the charts in ``png``."""

    name = "chartqa"
    description = "ChartQA: SPLIT/SPLIT_human.json, SPLIT_augmented.json (imgname, query, label) and SPLIT/png"

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if _is_chart(outline(folder, name))]

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        beside = name.rpartition("/")[0]
        for each in listed_rows(document(folder, name), "rows"):
            row = as_object(each)
            if isinstance(row, Fault):
                yield row
                continue
            image = f"png/{row.get('imgname')}"
            yield {
                "question": row.get("query"),
                "answer": row.get("label"),
                "images": [f"{beside}/{image}" if beside else image],
                "kind": "human" if "human" in name.rpartition("/")[2] else "augmented",
            }


def _is_chart(start: Any) -> bool:
    return (
        isinstance(start, list)
        and bool(start)
        and isinstance(start[0], dict)
        and {"imgname", "query", "label"} <= set(start[0])
    )
