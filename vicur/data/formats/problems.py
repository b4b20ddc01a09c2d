"""Objects of problems by number: ScienceQA's and TabMWP's released files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.beginnings import outline
from vicur.data.formats.documents import DocumentLayout, as_object, document, file_named
from vicur.data.formats.registry import register
from vicur.data.formats.science import science_columns
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault


class _Problems(DocumentLayout):
    """A JSON object of problems by number."""

    identified_by: frozenset[str]

    def data_files(self, folder: SourceFolder) -> list[str]:
        return [name for name in folder.ending(".json") if self.identified_by <= _first_keys(folder, name)]

    def rows(self, folder: SourceFolder, name: str) -> Iterator[Mapping[str, Any] | Fault]:
        for number, each in document(folder, name).items():
            row = as_object(each)
            if not isinstance(row, Fault) and (lacking := sorted(self.identified_by - row.keys())):
                row = Fault(field=lacking[0], reason="is missing", remedy="Add the field to the problem.")
            yield row if isinstance(row, Fault) else self.problem(folder, number, row)

    @abstractmethod
    def problem(self, folder: SourceFolder, number: str, row: Mapping[str, Any]) -> Mapping[str, Any] | Fault:
        """Return the columns of a problem, or the fault that makes it unusable."""


@register
class ScienceQaProblemsFormat(_Problems):
    """ScienceQA: ``problems.json``, and the image of a problem in ``SPLIT/NUMBER/image.png``."""

    name = "scienceqa_problems"
    description = "ScienceQA: problems.json and SPLIT/NUMBER/image.png"
    identified_by = frozenset({"question", "choices", "answer", "hint", "lecture", "solution"})

    def problem(self, folder: SourceFolder, number: str, row: Mapping[str, Any]) -> Mapping[str, Any] | Fault:  # noqa: ARG002
        fields = science_columns(row)
        if isinstance(fields, Fault):
            return fields
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


def _first_keys(folder: SourceFolder, name: str) -> frozenset[str]:
    start = outline(folder, name)
    first = next(iter(start.values()), None) if isinstance(start, dict) else None
    return frozenset(first) if isinstance(first, dict) else frozenset()
