"""Compositional questions about scenes: CLEVR and GQA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vicur.data.formats.documents import DocumentLayout, as_object, entries_in, file_named, first_objects
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder


class _Scenes(DocumentLayout):
    """Questions in one file for each split. Those of the test split have no answers, and are left out."""

    identified_by: ClassVar[frozenset[str]]
    """Fields of each question."""
    listed_in: ClassVar[str | None]
    """Field of the document with the list of questions; ``None`` if it is an object of questions by id."""

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name, is_answered in self._asked(folder).items() if is_answered]

    def left_out(self, folder: SourceFolder) -> Mapping[str, str]:
        hidden = "has no answers, as questions of a test split"
        return {name: hidden for name, is_answered in self._asked(folder).items() if not is_answered}

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name, self.listed_in)

    def _asked(self, folder: SourceFolder) -> dict[str, bool]:
        """Return the files of questions, and whether these have answers."""
        found = {}
        for name in folder.ending(".json"):
            questions = [
                each for each in first_objects(folder, name, self.listed_in) if self.identified_by <= set(each)
            ]
            if questions:
                found[name] = any("answer" in each for each in questions)
        return found


@register
class ClevrFormat(_Scenes):
    """CLEVR v1.0, and datasets in its form such as CLEVR-CoGenT and Super-CLEVR."""

    name = "clevr"
    description = "CLEVR: questions/CLEVR_SPLIT_questions.json and images/SPLIT/*.png"
    identified_by = frozenset({"image_filename", "question"})
    listed_in = "questions"

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        row = as_object(entry)
        program = row.get("program") or [{}]
        last = program[-1] if isinstance(program, list) and isinstance(program[-1], dict) else {}
        image, split = row.get("image_filename"), row.get("split")
        return {
            "id": f"{split}/{row['question_index']}" if "question_index" in row else None,
            "question": row.get("question"),
            "answer": row.get("answer"),
            "images": [file_named(folder, f"images/{split}/{image}", f"{image}")],
            # CLEVR's generator writes "new" unless it is told a split, as Super-CLEVR's rows show.
            "split": None if split == "new" else split,
            "kind": last.get("function") or last.get("type"),
        }


@register
class GqaFormat(_Scenes):
    """GQA: an object of questions by id."""

    name = "gqa"
    description = "GQA: questions/SPLIT_balanced_questions.json (question, answer, imageId) and images/ID.jpg"
    identified_by = frozenset({"question", "imageId"})
    listed_in = None

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        identifier, value = entry
        row = as_object(value)
        types, image = row.get("types"), row.get("imageId")
        return {
            "id": identifier,
            "question": row.get("question"),
            "answer": row.get("answer"),
            "images": [file_named(folder, f"{image}.jpg", f"{image}.png")],
            "kind": types.get("structural") if isinstance(types, dict) else None,
            "metadata": {"full_answer": row["fullAnswer"]} if row.get("fullAnswer") else {},
        }
