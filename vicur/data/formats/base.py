"""A format: how the files of a source become records, which :mod:`vicur.data.rows` turns into examples.

To add a format, add its name to ``FormatName`` in :mod:`vicur.config.formats` and its module to :mod:`vicur.data.formats`, where a class
like this one registers itself:

    @register
    class CsvFormat(Format):
        name = "csv"
        description = "one row a line, with the columns' names in the first line"

        def recognise(self, folder, config):
            return Recognised(files) if (files := ...) else None

        def units(self, folder, config):
            return [Unit(file=name, end=rows + 1) for name in ...]

        def records(self, folder, unit, config):
            yield Record(unit.file, row, {"question": "What?", "answer": 12}, split=unit.split)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from vicur.config.data import ImportConfig
from vicur.config.formats import FieldName, FormatName
from vicur.data.formats.columns import PUBLIC
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.schema import Fault

UNIT_ROWS = 2000
"""Rows of a unit, unless the file can only be divided in larger parts."""
UNIT_BYTES = 64 << 20
"""Bytes of a unit at most, unless a single row is larger."""


class Unit(BaseModel):
    """A part of a source that is read at a time, by any process. It is stored as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    file: str
    """The data file, relative to the source."""
    first: int = 1
    """Number of its first row."""
    end: int
    """Number after its last row."""
    offset: int = 0
    """Place in the file at which the first row begins, in bytes or as the format counts; 0 if it does not need it."""
    split: str | None = None
    """Name of the split that the file belongs to, as the source calls it; ``None`` if only its rows say it, or nothing."""

    @property
    def rows(self) -> int:
        """Return the number of rows, or an upper bound if the file has blank lines."""
        return self.end - self.first


@dataclass(frozen=True)
class Record:
    """A row as its file has it: columns by name, or the fault that makes it unreadable.

    Attributes:
        file: the data file, relative to the source.
        row: line number in a text file, or row number in a table; the first is 1.
        columns: values as read (JSON values and ``bytes``).
        split: name of the split that the file belongs to, as the source calls it.
    """

    file: str
    row: int
    columns: Mapping[str, Any] | Fault
    split: str | None = None


@dataclass(frozen=True)
class Recognised:
    """The files of a source that a format can read.

    Attributes:
        files: data files, relative to the source.
        left_out: reason why a file that has the format's ending is not read, by its name.
        unsure: doubts about the reading, as sentences for ``vicur data inspect``.
    """

    files: Sequence[str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    unsure: Sequence[str] = ()


class Format(ABC):
    """A layout of files. Subclasses set ``name`` and ``description`` and define every method; instances have no state."""

    name: ClassVar[FormatName]
    description: ClassVar[str]
    """The layout in a few words, for lists of formats."""
    columns: ClassVar[Mapping[FieldName, tuple[str, ...]]] = PUBLIC
    """Columns of each field: alternatives, of which the first that a row has counts."""
    refines: ClassVar[tuple[FormatName, ...]] = ()
    """More general formats, which read the same files, but less well."""
    is_general: ClassVar[bool] = False
    """Whether any other format that recognises the source is preferred."""
    is_strict: ClassVar[bool] = False
    """Whether a column without a field makes a row unusable. Otherwise its value becomes part of ``metadata``."""

    @abstractmethod
    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        """Return the files of this format, or ``None`` if there are none. Only beginnings of files are read."""

    @abstractmethod
    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        """Divide the source into units, in an order that depends only on its files."""

    @abstractmethod
    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:
        """Yield the rows of a unit in order. An unreadable row is a :class:`Record` with a fault.

        Raises:
            VicurError: if the file as a whole cannot be read.
        """
