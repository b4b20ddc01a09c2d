"""This project's own format: ``examples.jsonl`` or ``examples.parquet``, whose columns are the fields of an example."""

from __future__ import annotations

from collections.abc import Iterator

from vicur.config.data import ImportConfig
from vicur.data.formats.base import Format, Recognised, Record, Unit
from vicur.data.formats.columns import OWN
from vicur.data.formats.lines import json_lines, line_units
from vicur.data.formats.registry import register
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.formats.tables import parquet_records, parquet_units
from vicur.errors import VicurError

EXAMPLES = ("examples.jsonl", "examples.parquet")


@register
class ExamplesFormat(Format):
    """Rows with exactly the fields of an example, so that a mistyped name is an error."""

    name = "examples"
    description = "examples.jsonl or examples.parquet with the fields of an example"
    columns = OWN
    refines = ("jsonl", "json", "parquet")
    is_strict = True

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:  # noqa: ARG002
        found = [name for name in EXAMPLES if name in folder.files]
        if len(found) > 1:
            raise VicurError(
                f"contains both {found[0]} and {found[1]}.", where=str(folder.path), remedy="Remove one of them."
            )
        return Recognised(found) if found else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        found = self.recognise(folder, config)
        if found is None:
            raise VicurError(
                f"contains neither {EXAMPLES[0]} nor {EXAMPLES[1]}.",
                where=str(folder.path),
                remedy="Name the folder that has one of them, or another data.format.",
            )
        [name] = found.files
        return parquet_units(folder, name) if name.endswith(".parquet") else line_units(folder, name)

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:  # noqa: ARG002
        return parquet_records(folder, unit) if unit.file.endswith(".parquet") else json_lines(folder, unit)
