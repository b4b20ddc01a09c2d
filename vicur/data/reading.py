"""Reads a source in any format, unit by unit, as examples and skipped rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vicur.config.data import ImportConfig
from vicur.data.formats import FORMATS, SourceFolder, Unit, chosen_format
from vicur.data.rows import Layout, Row, read_row
from vicur.data.schema import SkippedRow


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

    def rows(self, unit: Unit) -> Iterator[Row | SkippedRow | None]:
        """Yield the rows of a unit in order; ``None`` for a row whose split ``data.splits`` leaves out."""
        format_ = FORMATS[self.format_name]
        layout = Layout.of(format_, self.config, self.seed)
        for record in format_.records(self.folder, unit, self.config):
            yield read_row(record, self.folder, layout)
