"""Objects of problems by number: ScienceQA's and TabMWP's released files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vicur.data.formats.documents import DocumentLayout, as_object, entries_in, file_named, first_objects
from vicur.data.formats.registry import register
from vicur.data.formats.science import science_columns
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import UnusableRowError


class _Problems(DocumentLayout):
    """A JSON object of problems by number."""

    identified_by: ClassVar[frozenset[str]]
    """Fields of each problem."""

    @abstractmethod
    def problem(self, folder: SourceFolder, number: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the row of a problem."""

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [
            name
            for name in folder.ending(".json")
            if any(self.identified_by <= set(each) for each in first_objects(folder, name))
        ]

    def entries(self, folder: SourceFolder, name: str) -> Sequence[Any]:
        return entries_in(folder, name)

    def row(self, folder: SourceFolder, name: str, entry: Any) -> Mapping[str, Any]:  # noqa: ARG002
        number, value = entry
        row = as_object(value)
        if lacking := sorted(self.identified_by - row.keys()):
            raise UnusableRowError(lacking[0], "is missing", "Add the field to the problem.")
        return self.problem(folder, number, row)


@register
class ScienceQaProblemsFormat(_Problems):
    """ScienceQA: ``problems.json``, and the image of a problem in ``SPLIT/NUMBER/image.png``."""

    name = "scienceqa_problems"
    description = "ScienceQA: problems.json and SPLIT/NUMBER/image.png"
    identified_by = frozenset({"question", "choices", "answer", "hint", "lecture", "solution"})

    def problem(self, folder: SourceFolder, number: str, row: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        fields = science_columns(row)
        images = [f"{row.get('split')}/{number}/{name}" for name in fields["images"]]
        return {**fields, "id": number, "images": images}


@register
class TabMwpFormat(_Problems):
    """TabMWP: ``problems_SPLIT.json``, and the tables as images in ``tables``."""

    name = "tabmwp"
    description = "TabMWP: problems_SPLIT.json and tables/NUMBER.png"
    identified_by = frozenset({"question", "choices", "answer", "table", "solution"})

    def problem(self, folder: SourceFolder, number: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
        unit = row.get("unit")
        return {
            "id": number,
            "question": row["question"],
            "choices": row["choices"] or [],
            # The unit is part of the question's answer only in the solution, so responses may leave it out.
            "answer": row["answer"],
            "rationale": row.get("solution"),
            "images": [file_named(folder, f"tables/{number}.png", f"{number}.png")],
            "split": row.get("split"),
            "kind": row.get("ques_type"),
            "metadata": {"unit": unit} if unit else {},
        }
