"""Layouts whose files are rows in JSON, parquet, Arrow or CSV, and which are recognised by their columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from vicur.config.data import ImportConfig
from vicur.config.formats import FieldName
from vicur.data.formats.base import Format, Recognised, Record, Unit
from vicur.data.formats.beginnings import first_columns
from vicur.data.formats.documents import FIELDS, UNEXPECTED, unexpected
from vicur.data.formats.readers import ENDINGS, reader_of
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault, UnusableRowError
from vicur.data.splitting import file_split
from vicur.errors import VicurError


class RowLayout(Format):
    """A layout of rows. Subclasses set ``identified_by`` and define how a row's columns become our fields."""

    columns: ClassVar[Mapping[FieldName, tuple[str, ...]]] = FIELDS
    identified_by: ClassVar[tuple[frozenset[str], ...]]
    """Sets of columns, of which a file must have one completely."""
    default_split: ClassVar[str | None] = None
    """Split of files whose names say none."""

    @abstractmethod
    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:
        """Yield the questions of a row, with our fields; other columns are kept as metadata.

        A row has the columns of one of the sets of ``identified_by``. Values of unexpected types may raise any error in ``UNEXPECTED``.

        Raises:
            UnusableRowError: with the reason, if the row cannot be used.
        """

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        files = self._files(folder, config)
        if not files:
            return None
        others = set(folder.ending(*ENDINGS, patterns=config.files)) - set(files)
        return Recognised(files, left_out=dict.fromkeys(sorted(others), f"has no rows of the layout {self.name}"))

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        files = self._files(folder, config)
        if not files:
            wanted = " or ".join(", ".join(sorted(names)) for names in self.identified_by)
            raise VicurError(
                f"has no file of rows with the columns of the layout {self.name} ({wanted}).",
                where=str(folder.path),
                remedy="Correct data.path or data.files, or set data.format=auto.",
            )
        return [
            unit
            for name in files
            for unit in reader_of(name).file_units(folder, name, file_split(name, config.splits) or self.default_split)
        ]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:
        for record in reader_of(unit.file).records(folder, unit, config):
            if isinstance(record.columns, Fault):
                yield record
                continue
            found = self._questions(record.columns, unit.file)
            for number, each in enumerate(found, start=1):
                columns = each
                if len(found) > 1 and not isinstance(each, Fault) and each.get("id") is None:
                    columns = {**each, "id": f"{record.file}:{record.row}-{number}"}
                yield Record(record.file, record.row, columns, record.split)

    def _questions(self, row: Mapping[str, Any], file: str) -> list[Mapping[str, Any] | Fault]:
        if missing := self._missing(row):
            return [missing]
        found: list[Mapping[str, Any] | Fault] = []
        try:
            found += self.reshaped(row, file)
        except UnusableRowError as error:
            found.append(error.fault)
        except UNEXPECTED as error:
            found.append(unexpected(self.name, error))
        return found

    def _files(self, folder: SourceFolder, config: ImportConfig) -> list[str]:
        files = folder.ending(*ENDINGS, patterns=config.files)
        if config.format == self.name and config.files:
            return files
        return [
            name
            for name in files
            if any(wanted <= columns for columns in first_columns(folder, name) for wanted in self.identified_by)
        ]

    def _missing(self, row: Mapping[str, Any]) -> Fault | None:
        if any(names <= row.keys() for names in self.identified_by):
            return None
        lacking = min((sorted(names - row.keys()) for names in self.identified_by), key=len)
        return Fault(field=lacking[0], reason="is missing", remedy="Add the field to the row.")


class QuestionLayout(RowLayout):
    """A layout in which each row is one question. Subclasses define :meth:`question` in place of :meth:`reshaped`."""

    @abstractmethod
    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields of a row, as :meth:`reshaped` does."""

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        yield self.question(row)


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the columns of a row but for some."""
    return {key: value for key, value in row.items() if key not in names}
