"""Guesses the columns of a source from its values, for ``vicur data inspect``. ``vicur data prepare`` never reads a guess like this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vicur.config.formats import FieldName
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.row_images import is_image
from vicur.data.row_values import choices_of
from vicur.data.schema import UnusableRowError

_ENOUGH = 0.5  # share of the rows in which a column must have the form of a field


def guessed_columns(rows: Sequence[Mapping[str, Any]], folder: SourceFolder, file: str) -> dict[FieldName, str]:
    """Return the columns that look like images, choices, question and answer; without those of which there is none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [row[name] for row in rows if row.get(name) not in (None, "")] for name in names}
    values = {name: found for name, found in values.items() if found}
    guessed: dict[FieldName, str] = {}

    def take(field: FieldName, fits: Callable[[Any], bool], rank: Callable[[str], Any]) -> None:
        fitting = [name for name, found in values.items() if sum(map(fits, found)) >= _ENOUGH * len(found)]
        if fitting:
            guessed[field] = max(fitting, key=rank)
            del values[guessed[field]]

    take("images", lambda value: is_image(value, folder, file), lambda name: len(values[name]))
    take("choices", _are_choices, lambda name: len(values[name]))
    take("question", _is_question, lambda name: (_asking(values[name]), _mean_length(values[name])))
    # Shorter than the question, and not a number of the row.
    take("answer", _is_answer, lambda name: (not _is_counter(values[name]), -_mean_length(values[name])))
    return guessed


def _are_choices(value: Any) -> bool:
    if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
        return False
    try:
        return len(choices_of(value)) > 1
    except UnusableRowError:
        return False


def _is_question(value: Any) -> bool:
    return isinstance(value, str) and len(value.split()) > 1


def _is_answer(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(str(value).strip())


def _asking(values: Sequence[Any]) -> float:
    return sum("?" in str(value) for value in values) / len(values)


def _mean_length(values: Sequence[Any]) -> float:
    return sum(len(str(value)) for value in values) / len(values)


def _is_counter(values: Sequence[Any]) -> bool:
    texts = [str(value) for value in values]
    return (
        len(texts) > 1
        and all(map(str.isdecimal, texts))
        and [int(t) - int(texts[0]) for t in texts] == [*range(len(texts))]
    )
