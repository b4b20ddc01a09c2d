"""The index of a pipeline's answers or scores: a folder per benchmark, and their names in the order of the configuration."""

from __future__ import annotations

import json
from pathlib import Path

from vicur.errors import VicurError

INDEX = "benchmarks.json"
"""File with the names."""


def write_index(labels: list[str], folder: Path) -> None:
    """Write the names of the benchmarks in a folder."""
    (folder / INDEX).write_text(json.dumps({"benchmarks": labels}) + "\n", encoding="utf-8")


def read_index(folder: Path) -> list[str]:
    """Return the names of the benchmarks in a folder of answers or scores.

    Raises:
        VicurError: if the folder has no index.
    """
    try:
        return [str(each) for each in json.loads((folder / INDEX).read_text(encoding="utf-8"))["benchmarks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VicurError(
            f"cannot be read ({error}).", where=str(folder / INDEX), remedy="Run the step that wrote it again."
        ) from error
