"""Geometry3K as Inter-GPS releases it: a folder for each problem, in ``train``, ``val`` and ``test``.

    train/11/data.json  img_diagram.png  img_diagram_point.png  img_problem.png  logic_form.json

The parquet form (``images``, ``problem``, ``answer``) needs no class: ``data.format=parquet`` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vicur.config.data import ImportConfig
from vicur.data.formats.base import UNIT_ROWS, Format, Recognised, Record, Unit
from vicur.data.formats.json_values import parsed_object
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault, UnusableRowError

_DATA, _DIAGRAM, _LOGIC = "data.json", "img_diagram.png", "logic_form.json"
# The same text with and without formulas as the annotators marked them.
_TEXTS = ("annotat_text", "compact_text", "problem_text")
_MOST_BYTES = 1 << 20


@register
class Geometry3kFormat(Format):
    """One folder for each problem. The answer is the letter of a choice."""

    name = "geometry3k"
    description = "Geometry3K's folders: train/ID/data.json, img_diagram.png and logic_form.json"
    refines = ("imagefolder",)

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:  # noqa: ARG002
        present = set(folder.files)
        found = [
            name for name in problems(folder) if _beside(name, _DIAGRAM) in present and _beside(name, _LOGIC) in present
        ]
        return Recognised(found) if found else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:  # noqa: ARG002
        """Divide the problems of each split, in the order of their numbers; ``file`` is the folder of the split."""
        units = []
        splits: dict[str, list[str]] = {}
        for name in problems(folder):
            splits.setdefault(name.split("/")[-3] if name.count("/") >= 2 else "", []).append(name)
        for split, names in splits.items():
            for first in range(1, len(names) + 1, UNIT_ROWS):
                end = min(first + UNIT_ROWS, len(names) + 1)
                units.append(Unit(file=_above(names[0]), first=first, end=end, split=split or None))
        return units

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        names = [name for name in problems(folder) if _above(name) == unit.file]
        for name in names[unit.first - 1 : unit.end - 1]:
            yield Record(name, 1, _columns(folder, name), unit.split)


def problems(folder: SourceFolder) -> list[str]:
    """Return the files ``data.json`` of all problems, by split and number."""
    found = [name for name in folder.files if name.endswith(f"/{_DATA}")]
    return sorted(found, key=lambda name: (_above(name), _number(name.split("/")[-2])))


def _columns(folder: SourceFolder, name: str) -> dict[str, Any] | Fault:
    try:
        data = parsed_object(_read(folder, name))
        logic = (
            parsed_object(_read(folder, _beside(name, _LOGIC)), "logic_form")
            if folder.has(_beside(name, _LOGIC))
            else {}
        )
    except UnusableRowError as error:
        return error.fault
    solution = data.get("detailed_solution")
    text = next((data[key] for key in _TEXTS if data.get(key)), None)
    return {
        "id": data.get("id", name.split("/")[-2]),
        "question": text,
        "choices": data.get("compact_choices") or data.get("choices"),
        "answer": data.get("answer"),
        "rationale": solution.strip() or None if isinstance(solution, str) else solution,
        "images": [_beside(name, _DIAGRAM)],
        "metadata": {
            "problem_type_graph": data.get("problem_type_graph", []),
            "problem_type_goal": data.get("problem_type_goal", []),
            "diagram_logic_form": logic.get("diagram_logic_form", []),
            "text_logic_form": logic.get("text_logic_form", []),
        },
    }


def _read(folder: SourceFolder, name: str) -> bytes:
    with folder.open(name) as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UnusableRowError("", f"{name!r} has more than {_MOST_BYTES >> 20} MiB", "Replace it by a problem's file.")
    return data


def _beside(name: str, other: str) -> str:
    return f"{name.rpartition('/')[0]}/{other}"


def _above(name: str) -> str:
    """Return the folder that holds the problem's folder."""
    return "/".join(name.split("/")[:-2]) or "."


def _number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text)
