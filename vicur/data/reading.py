"""Reads a source in any format, unit by unit, as examples and skipped rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from vicur.config.data import ImportConfig
from vicur.data.answer_index import decided_index
from vicur.data.formats import FORMATS, SourceFolder, Unit, chosen_format
from vicur.data.formats.base import Format, Record
from vicur.data.row_columns import Layout
from vicur.data.rows import Row, read_row
from vicur.data.schema import SkippedRow

_FILES = 20  # files that a sample is read from


def first_records(
    format_: Format, folder: SourceFolder, config: ImportConfig, units: Sequence[Unit]
) -> Iterator[Record]:
    """Yield the first rows of units of different files, so that each split is seen: about :attr:`SourceFolder.sampled`."""
    by_file: dict[str, Unit] = {}
    for unit in units:
        by_file.setdefault(f"{unit.split}:{unit.file}", unit)
    chosen = list(by_file.values())[:: max(1, len(by_file) // _FILES)][:_FILES]
    for unit in chosen:
        yield from islice(format_.records(folder, unit, config), max(1, folder.sampled // len(chosen)))


@dataclass(frozen=True)
class Reading:
    """A source whose format is known. It can be sent to other processes, each of which reads some of the units."""

    folder: SourceFolder
    config: ImportConfig
    format_name: str
    seed: int

    @classmethod
    def of(cls, folder: SourceFolder, config: ImportConfig, seed: int = 0) -> Reading:
        """Recognise the format of a source.

        Raises:
            VicurError: if it has none, or could have several.
        """
        return cls(folder, config, chosen_format(folder, config).name, seed)

    def units(self) -> list[Unit]:
        """Divide the source into parts, in an order that depends only on its files."""
        return FORMATS[self.format_name].units(self.folder, self.config)

    def with_answer_index(self, units: Sequence[Unit]) -> Reading:
        """Return this reading with ``data.answer_index`` decided by all rows, unless the section sets it.

        Raises:
            VicurError: if the rows do not say it.
        """
        if self.config.answer_index != "auto":
            return self
        format_ = FORMATS[self.format_name]
        index = decided_index(
            first_records(format_, self.folder, self.config, units),
            (record for unit in units for record in format_.records(self.folder, unit, self.config)),
            Layout.of(format_, self.config, self.seed),
            self.folder.address or str(self.folder.path),
        )
        return replace(self, config=self.config.model_copy(update={"answer_index": index}))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings for the manifest: without the source's location, so that equal data have equal bytes."""
        config = self.config.model_dump(mode="json")
        settings = {
            "type": "folder",
            "max_skipped_share": config["max_skipped_share"],
            "max_pixels": config["max_pixels"],
        }
        if self.format_name != "examples":
            settings["format"] = self.format_name
        if self.config.answer_index in (0, 1):
            settings["answer_index"] = self.config.answer_index
        return {**settings, **{name: config[name] for name in ("files", "fields", "splits") if config[name]}}

    def rows(self, unit: Unit) -> Iterator[Row | SkippedRow | None]:
        """Yield the rows of a unit in order; ``None`` for a row whose split ``data.splits`` leaves out."""
        format_ = FORMATS[self.format_name]
        layout = Layout.of(format_, self.config, self.seed)
        for record in format_.records(self.folder, unit, self.config):
            yield read_row(record, self.folder, layout)
