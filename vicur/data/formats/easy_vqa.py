"""easy-VQA, as its package on PyPI holds it (``easy_vqa/data``):

    answers.txt  train/questions.json  train/images/0.png  test/questions.json  test/images/0.png

``questions.json`` is a list of ``[question, answer, image number]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.beginnings import outline
from vicur.data.formats.documents import DocumentLayout, document, listed_rows
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault


@register
class EasyVqaFormat(DocumentLayout):
    """Triples of question, answer and image."""

    name = "easy_vqa"
    description = "easy-VQA: SPLIT/questions.json with [question, answer, image number] and SPLIT/images/NUMBER.png"

    def data_files(self, folder: SourceFolder) -> list[str]:
        named = [name for name in folder.files if name.rpartition("/")[2] == "questions.json"]
        return [name for name in named if _is_triples(outline(folder, name))]

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        beside, _, _ = name.rpartition("/")
        images = f"{beside}/images" if beside else "images"
        for row in listed_rows(document(folder, name), "rows"):
            if not _is_triple(row):
                yield Fault(
                    field="",
                    reason="is not a question, an answer and the number of an image",
                    remedy='Write ["what color is the shape?", "blue", 0].',
                )
                continue
            question, answer, number = row
            yield {"question": question, "answer": answer, "images": [f"{images}/{number}.png"]}


def _is_triples(start: Any) -> bool:
    return isinstance(start, list) and bool(start) and all(map(_is_triple, start))


def _is_triple(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and isinstance(row[1], str)
        and isinstance(row[2], int)
        and not isinstance(row[2], bool)
    )
