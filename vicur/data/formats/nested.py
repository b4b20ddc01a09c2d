"""Documents whose entries are images with several questions each: OCR-VQA and Visual Genome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from vicur.data.formats.documents import DocumentLayout, as_object, entries_in, file_named, first_objects
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import UnusableRowError

_SPLITS = {1: "train", 2: "val", 3: "test"}


@register
class OcrVqaFormat(DocumentLayout):
    """OCR-VQA: an object of books by id, with lists of questions and answers. Images are named by the id, as its loader saves them."""

    name = "ocr_vqa"
    description = "OCR-VQA: an object of books (imageURL, questions, answers, split) and images/ID.jpg"

    def data_files(self, folder: SourceFolder) -> list[str]:
        wanted = {"imageURL", "questions", "answers"}
        return [
            name for name in folder.ending(".json") if any(wanted <= set(each) for each in first_objects(folder, name))
        ]

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name)

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        identifier, value = entry
        book = as_object(value)
        questions, answers, split = book.get("questions"), book.get("answers"), book.get("split")
        if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
            raise UnusableRowError(
                "answers", "is not one answer to each of a list of questions", "Write two lists of one length."
            )
        ending = PurePosixPath(str(book.get("imageURL"))).suffix or ".jpg"
        image = file_named(folder, f"images/{identifier}{ending}", f"{identifier}{ending}", f"{identifier}.jpg")
        return [
            {
                "id": f"{identifier}-{number}",
                "question": question,
                "answer": answer,
                "images": [image],
                "split": _SPLITS.get(split) if isinstance(split, int) else split,
                "kind": book.get("genre"),
            }
            for number, (question, answer) in enumerate(zip(questions, answers, strict=True), start=1)
        ]


@register
class VisualGenomeFormat(DocumentLayout):
    """Visual Genome: a list of images with ``qas``."""

    name = "visual_genome"
    description = "Visual Genome: question_answers.json (id, qas) and VG_100K/ID.jpg, VG_100K_2/ID.jpg"

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if any("qas" in each for each in first_objects(folder, name))]

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name)

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        pictured = as_object(entry)
        if not isinstance(pictured["qas"], list):
            raise UnusableRowError("qas", "is not a list of questions", 'Write [{"question": "...", "answer": "..."}].')
        rows = []
        for each in map(as_object, pictured["qas"]):
            number = each.get("image_id", pictured.get("id"))
            names = [f"{place}{number}.jpg" for place in ("VG_100K/", "VG_100K_2/", "")]
            rows.append(
                {
                    "id": each.get("qa_id"),
                    "question": each.get("question"),
                    "answer": each.get("answer"),
                    "images": [file_named(folder, *names)],
                }
            )
        return rows
