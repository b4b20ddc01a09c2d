"""Reads a source in any format, unit by unit, as examples and skipped rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        return {**settings, **{name: config[name] for name in ("files", "fields", "splits") if config[name]}}

    def rows(self, unit: Unit) -> Iterator[Row | SkippedRow | None]:
        """Yield the rows of a unit in order; ``None`` for a row whose split ``data.splits`` leaves out."""
        format_ = FORMATS[self.format_name]
        layout = Layout.of(format_, self.config, self.seed)
        for record in format_.records(self.folder, unit, self.config):
            yield read_row(record, self.folder, layout)
