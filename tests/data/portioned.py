"""Prepares a source in portions, as separate machines would: nothing is shared but the outputs of steps."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.data.conftest import make_context
from vicur.config.portions import DataPlanConfig, DataPortionConfig
from vicur.data import PrepareSummary, prepare
from vicur.data.portions.plan import plan_portions
from vicur.data.portions.read import read_portion
from vicur.stage.portions import PORTIONS, portion_inputs
from vicur.storage.folders import files_below, new_folder


def planned(config: Any, count: int, folder: Path, seed: int = 0) -> list[DataPortionConfig]:
    """The portions of a source."""
    with new_folder(folder / "plan") as output:
        plan_portions(DataPlanConfig(data=config, count=count), {}, output, make_context(folder / "plan-work", seed))
        return [DataPortionConfig.model_validate(each) for each in json.loads((output / PORTIONS).read_text())]


def read(config: DataPortionConfig, number: int, folder: Path, seed: int = 0) -> Path:
    """The output of one portion."""
    with new_folder(folder / f"portion-{number}") as output:
        read_portion(config, {}, output, make_context(folder / f"work-{number}", seed))
    return folder / f"portion-{number}"


def merged(config: Any, portions: Sequence[Path], output: Path, folder: Path, seed: int = 0) -> PrepareSummary:
    """Merge portions, which arrive in any order."""
    shuffled = random.Random(0).sample(list(portions), len(portions))  # noqa: S311
    with new_folder(output) as partial:
        return prepare(config, portion_inputs(shuffled), partial, make_context(folder / "merge-work", seed))


def prepared(config: Any, count: int, output: Path, folder: Path, seed: int = 0) -> PrepareSummary:
    """Prepare a source in at most ``count`` portions."""
    found = planned(config, count, folder, seed)
    portions = [read(each, number, folder, seed) for number, each in enumerate(found, start=1)]
    return merged(config, portions, output, folder, seed)


def push(folder: Path, remote: Path) -> str:
    """Put a folder into a DVC remote, and return its hash."""

    def put(content: bytes, ending: str = "") -> str:
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        place = remote / "files" / "md5" / md5[:2] / f"{md5[2:]}{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return md5

    files = {file.relative_to(folder).as_posix(): put(file.read_bytes()) for file in files_below(folder)}
    listing = [{"md5": md5, "relpath": name} for name, md5 in files.items()]
    return f"{put(json.dumps(listing).encode(), '.dir')}.dir"
