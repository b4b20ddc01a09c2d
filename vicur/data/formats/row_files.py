"""The common part of formats whose files are tables of rows, which are chosen by their ending and their columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from vicur.config.data import ImportConfig
from vicur.data.formats.base import Format, Recognised, Unit
from vicur.data.formats.columns import MISSING, folded, folded_names, lookup
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.splitting import file_split
from vicur.errors import VicurError
from vicur.wording import listed

_SHOWN = 8  # columns in a message
_TRIED = 20  # rows, of which the first may be invalid
_ENOUGH = 5  # rows that show the columns of a file


class RowFiles(Format):
    """A format of files with rows. Of the files with its endings, those with a column for the question or the answer are read."""

    is_general = True
    endings: ClassVar[tuple[str, ...]]

    @abstractmethod
    def peek(self, folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
        """Return the columns of the first rows of a file, with values that they have there.

        The result is ``{}`` if it has no rows, or ``None`` if the file has the form of another format.

        Raises:
            NoRowsError: if it is a file of this form, but no table of rows.
            VicurError: if the file cannot be read.
        """

    @abstractmethod
    def file_units(self, folder: SourceFolder, name: str, split: str | None) -> list[Unit]:
        """Divide a file into units."""

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        files, left_out = [], {}
        for name in folder.ending(*self.endings, patterns=config.files):
            try:
                row = self.peek(folder, name)
            except NoRowsError as error:
                left_out[name] = error.problem
                continue
            if row is None:
                continue
            if not row or config.files or self._has_rows_of_examples(row, config):
                files.append(name)
            else:
                left_out[name] = f"has no column for the question or the answer, but {listed(row, _SHOWN)}."
        return Recognised(files, left_out) if files or left_out else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        found = self.recognise(folder, config)
        if found is None or not found.files:
            reasons = "; ".join(f"{name} {reason}" for name, reason in (found.left_out if found else {}).items())
            chosen = f" that match data.files ({listed(config.files)})" if config.files else ""
            raise VicurError(
                f"has no {' or '.join(self.endings)} files{chosen} with rows of questions{f': {reasons}' if reasons else ''}.",
                where=str(folder.path),
                remedy="Correct data.path, data.files or data.format, or name the columns in data.fields (docs/formats.md).",
            )
        return [unit for name in found.files for unit in self.file_units(folder, name, file_split(name, config.splits))]

    def _has_rows_of_examples(self, row: Mapping[str, Any], config: ImportConfig) -> bool:
        names = folded_names(row)
        columns = {**self.columns, **config.fields}
        values = (
            lookup(row, name)[0]
            for field, alternatives in columns.items()
            if field in ("question", "answer")
            for column in alternatives
            for name in (column, names.get(folded(column), column))
        )
        # A description of columns (dataset_info.json) has their names, too.
        return any(value is not MISSING and not isinstance(value, Mapping) for value in values)


class NoRowsError(VicurError):
    """Raised for a file that is intact, but no table of rows."""


def first_columns(rows: Iterator[Any], where: str) -> Mapping[str, Any]:
    """Return the columns of the first objects, of which single ones may be damaged, or an empty object if there are no values.

    Raises:
        NoRowsError: if none of the first values is an object.
    """
    columns: dict[str, Any] = {}
    tried = objects = 0
    for tried, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            objects += 1
            for name, value in row.items():
                columns.setdefault(name, value)
        if tried == _TRIED or objects == _ENOUGH:
            break
    if tried and not objects:
        raise NoRowsError("has no rows that are objects.", where=where, remedy="Write one JSON object for each row.")
    return columns
