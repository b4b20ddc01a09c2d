"""An exporter: writes the examples of a dataset in a layout that other libraries read.

To add one, write a class like those in this folder and import its module in :mod:`vicur.data.exporting`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vicur.data.schema import Example

SHARD_BYTES = 256 << 20
"""Bytes of images after which the next file is begun."""


class Exporter(ABC):
    """Writes one export to an empty folder. Subclasses set ``name`` and ``description`` and define every method.

    Examples arrive in the order of the dataset, split by split. Equal examples give equal bytes.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    """The layout in a few words, for the help."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def add(self, example: Example) -> None:
        """Write one example."""

    @abstractmethod
    def close(self) -> None:
        """Finish the last file."""


EXPORTERS: dict[str, type[Exporter]] = {}
"""Every exporter by its name."""

E = TypeVar("E", bound=type[Exporter])


def register(exporter: E) -> E:
    """Add an exporter to :data:`EXPORTERS`."""
    EXPORTERS[exporter.name] = exporter
    return exporter


def fields_of(example: Example) -> dict[str, Any]:
    """Return the fields of an example without its images, and without those that it does not have, as JSON values."""
    values = example.model_dump(mode="json", exclude={"images"})
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def json_text(values: Any) -> str:
    """Encode JSON values as one line, identical for equal values."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def ending(image: bytes) -> str:
    """Return the ending of a file with a stored image."""
    return "png" if image.startswith(b"\x89PNG") else "jpg"
