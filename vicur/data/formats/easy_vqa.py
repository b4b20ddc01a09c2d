"""easy-VQA, as its package on PyPI holds it (``easy_vqa/data``):

    answers.txt  train/questions.json  train/images/0.png  test/questions.json  test/images/0.png

``questions.json`` is a list of ``[question, answer, image number]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vicur.data.formats.beginnings import outline
from vicur.data.formats.documents import DocumentLayout, entries_in
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import UnusableRowError


@register
class EasyVqaFormat(DocumentLayout):
    """Triples of question, answer and image."""

    name = "easy_vqa"
    description = "easy-VQA: SPLIT/questions.json with [question, answer, image number] and SPLIT/images/NUMBER.png"

    def data_files(self, folder: SourceFolder) -> list[str]:
        named = [name for name in folder.files if name.rpartition("/")[2] == "questions.json"]
        return [
            name for name in named if isinstance(start := outline(folder, name), list) and any(map(_is_triple, start))
        ]

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name)

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        if not _is_triple(entry):
            raise UnusableRowError(
                "",
                "is not a question, an answer and the number of an image",
                'Write ["what color is the shape?", "blue", 0].',
            )
        question, answer, number = entry
        beside, _, _ = name.rpartition("/")
        return {"question": question, "answer": answer, "images": [f"{beside}/images/{number}.png".lstrip("/")]}


def _is_triple(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and isinstance(row[1], str)
        and isinstance(row[2], int)
        and not isinstance(row[2], bool)
    )
