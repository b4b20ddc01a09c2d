"""What a portion of a source is read from: a digest that changes with the files of its units, and not with those of other units."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

from vicur.config.data import NO_EFFECT, ImportConfig
from vicur.config.formats import AnswerIndex
from vicur.data.formats import Unit
from vicur.data.reading import Reading
from vicur.stage.portions import Record, digest
from vicur.wording import listed

STAGE = "prepare"


class DataRecord(Record):
    """Record of a portion of a source."""

    format: str
    """Name of the source's format; empty for a source that cannot be divided."""
    content: str
    """Digest of what the portion was read from."""
    where: str
    """The source in messages."""
    answer_index: AnswerIndex = "auto"
    """What answers that are numbers mean, which all rows of the source decided when it was divided."""


def row_settings(config: ImportConfig) -> ImportConfig:
    """Return a source without the settings that do not change how single rows are read, but only what is made of all of them."""
    defaults = {name: ImportConfig.model_fields[name].default for name in ("max_skipped_share", "required_splits")}
    # Both look for near-duplicates, and only the merge drops rows.
    duplicates = "drop" if config.duplicates == "report" else config.duplicates
    return config.source().model_copy(update={**defaults, "duplicates": duplicates})


def settings_digest(config: ImportConfig, format_name: str, seed: int) -> str:
    """Return a digest of what must be equal in all portions of a source, wherever it is stored."""
    identity = row_settings(config).identity()
    settings = {name: value for name, value in identity.items() if name not in {*NO_EFFECT, "path"}}
    return digest(settings, format_name, seed)


def place(reading: Reading, units: Sequence[Unit]) -> str:
    """Return the source in messages, as an import in one process names it."""
    return f"{reading.folder.path / listed([unit.file for unit in units][:1])}"


class Contents:
    """Digests of portions of a source.

    A digest covers the units, the state of their files, and that of all files that belong to no unit, such as images: which of them a unit
    refers to is known only after it has been read.

    Args:
        units: all units of the source.
        states: a text for each file of the source that changes with its content.
    """

    def __init__(self, units: Sequence[Unit], states: Mapping[str, str]) -> None:
        self._units = units
        self._states = states
        self._names = sorted(states)
        own = {name for file in {unit.file for unit in units} for name in self._files(file)}
        self._shared = digest([[name, states[name]] for name in self._names if name not in own])

    def of(self, first: int, end: int) -> str:
        """Return the digest of the units from ``first`` to before ``end``."""
        units = self._units[first:end]
        files = dict.fromkeys(unit.file for unit in units)
        states = [[name, self._states[name]] for file in files for name in self._files(file)]
        return digest([unit.model_dump() for unit in units], states, self._shared)

    def _files(self, file: str) -> list[str]:
        """Return the files of a unit: the one that it names, or those below the folder that it names."""
        if file in self._states:
            return [file]
        prefix = "" if Path(file) == Path() else f"{file.rstrip('/')}/"
        begin = bisect_left(self._names, prefix)
        # No character of a path sorts after this one.
        return self._names[begin : bisect_left(self._names, f"{prefix}\U0010ffff")]
