"""Portions of a stage: contiguous ranges of its work, which separate machines do side by side and one merges.

    plan      divide the work, which depends only on the input and on the number of portions
    portion   do the work of one range; its output has a record of the range
    merge     check that the portions make up the whole, and finish the stage as if it had done everything itself

Each portion is a separate step, so that a failed one is repeated alone and an unchanged one is reused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from vicur.errors import VicurError

PORTIONS = "portions.json"
"""File with the settings of all portions."""
RECORD = "portion.json"
"""File with the range of a portion, in its output."""
_INPUT = "portion-"
_AGAIN = "Make all portions from the same input with the same settings, and merge all of them."


class Record(BaseModel):
    """Content of ``portion.json``, and a base class for what a stage adds to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    stage: str
    """Name of the stage."""
    first: int
    """Number of the first item, from 0."""
    end: int
    """Number after the last item."""
    last: bool
    """Whether no portion follows."""
    settings: str
    """Digest of everything that must be equal in all portions: settings, seed, input."""

    def write(self, folder: Path) -> None:
        """Write the record of a portion to its folder."""
        (folder / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Range:
    """A range of items, such as the units of a source."""

    first: int
    end: int
    last: bool


@dataclass(frozen=True)
class Automatic:
    """The rule for a number of portions that is not set."""

    rows: int  # of a portion
    most: int  # portions


def divided(rows: Sequence[int], count: int, automatic: Automatic) -> list[Range]:
    """Divide items into contiguous ranges with about equally many rows.

    Ranges are filled from the start, so that items that are appended to an input leave the earlier ranges as they are if the number
    follows from the rows.

    Args:
        rows: number of rows of each item, none of which is divided.
        count: largest number of ranges; 0 lets it follow from the rows.

    Returns:
        At least one range.
    """
    total = sum(rows)
    size = max(1, -(-total // count)) if count else max(automatic.rows, -(-total // automatic.most))
    ends, filled = [], 0
    for number, each in enumerate(rows, start=1):
        filled += each
        if filled >= size:
            ends.append(number)
            filled = 0
    if ends and not filled:
        ends[-1] = len(rows)  # items without rows at the end belong to the last range
    elif not ends or ends[-1] < len(rows):
        ends.append(len(rows))
    starts = [0, *ends[:-1]]
    return [Range(first, end, last=end == len(rows)) for first, end in zip(starts, ends, strict=True)]


def digest(*values: Any) -> str:
    """Return a digest of JSON values in 24 hex digits."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=12).hexdigest()


def portion_inputs(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the outputs of portions as inputs of the stage that merges them."""
    return {f"{_INPUT}{number}": folder for number, folder in enumerate(folders, start=1)}


def portions_in(inputs: Mapping[str, Path]) -> list[Path]:
    """Return the outputs of portions among the inputs of a stage; none if it does all of its work itself."""
    return [path for name, path in inputs.items() if name.startswith(_INPUT)]


R = TypeVar("R", bound=Record)


def in_order(folders: Sequence[Path], kind: type[R], stage: str, settings: str) -> list[tuple[Path, R]]:
    """Return the portions of a stage in the order of their ranges, each with its record.

    Args:
        settings: digest that all portions must have.

    Raises:
        VicurError: if a portion is missing, there twice, damaged, or made from other settings or another input.
    """
    read = [(folder, read_record(folder, kind, stage)) for folder in folders]
    for folder, record in read:
        if record.stage != stage:
            raise VicurError(f"is a portion of {record.stage}, not of {stage}.", where=str(folder), remedy=_AGAIN)
        if record.settings != settings:
            raise VicurError(
                "was made with other settings, with another seed or from another input.",
                where=str(folder),
                remedy=_AGAIN,
            )
    found = sorted(read, key=lambda each: (each[1].first, each[1].end))
    reached, complete = 0, False
    for folder, record in found:
        if complete or record.first < reached:
            raise VicurError(
                f"repeats work of another portion: it begins with number {record.first}, but the earlier ones reach "
                f"{reached}.",
                where=str(folder),
                remedy=_AGAIN,
            )
        if record.first > reached:
            raise _missing(folders, stage, f"from number {reached} to {record.first}")
        reached, complete = record.end, record.last
    if not complete:
        raise _missing(folders, stage, f"from number {reached} on")
    return found


def _missing(folders: Sequence[Path], stage: str, what: str) -> VicurError:
    return VicurError(f"the portion {what} is missing.", where=f"{len(folders)} portions of {stage}", remedy=_AGAIN)


def read_record(folder: Path, kind: type[R], stage: str) -> R:
    """Return the record of a portion.

    Raises:
        VicurError: if the folder is not a portion of the stage.
    """
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise VicurError(f"is not a portion: it has no {RECORD}.", where=str(folder), remedy=_AGAIN) from None
    except (OSError, UnicodeDecodeError) as error:
        raise VicurError(f"cannot be read ({error}).", where=str(path), remedy=_AGAIN) from error
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise VicurError(f"is not the record of a portion of {stage}.", where=str(path), remedy=_AGAIN) from error
