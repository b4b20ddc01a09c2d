"""Make a version again: its configuration, the commands that train its student, and the hashes that must come out.

The same code, packages and kind of processor give the same bytes. What differs on this machine is named before anything is computed, and
:func:`compare` says afterwards in which step the results begin to differ.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from vicur.config.base import SHIPPED
from vicur.config.loading import read_overrides
from vicur.config.model_address import model_address
from vicur.config.run import RunConfig
from vicur.config.sources import Sources
from vicur.config.validation import validated
from vicur.data.pin import dvc_hash
from vicur.errors import VicurError
from vicur.registry.lineage import checkpoint_sha256
from vicur.registry.provenance import Provenance
from vicur.registry.versions import Version
from vicur.stage.environment import Environment
from vicur.storage.folders import new_file, tree_sha256
from vicur.wording import differences as worded
from vicur.wording import listed

CONFIG, SCRIPT, EXPECTED = "run.yaml", "reproduce.sh", "expected.json"
DATA, CUES, STUDENT = "data", "cues", "student"
_NEEDED = ("data", "cues", "base", "training")


class Expected(BaseModel, frozen=True):
    """Content of ``expected.json``: what the commands must produce."""

    version: str
    """Name and number of the version."""
    dataset: str
    """DVC's hash."""
    cues: str
    """SHA-256 of the folder."""
    checkpoint: str
    """SHA-256 over the files of the student's model."""


@dataclass(frozen=True)
class Recipe:
    """How to make a version again."""

    config: dict[str, Any]
    commands: list[list[str]]
    expected: Expected
    warnings: list[str]
    """What is different here, or may be, as sentences."""

    def write(self, folder: Path) -> None:
        """Write configuration, script and hashes to a folder. Other files in it stay.

        Raises:
            VicurError: if the folder cannot be written.
        """
        lines = [
            "#!/bin/sh",
            f"# Makes {self.expected.version} again, next to this file.",
            "set -eu",
            'cd "$(dirname "$0")"',
        ]
        script = "\n".join([*lines, *map(shlex.join, self.commands)]) + "\n"
        texts = {
            CONFIG: yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True),
            SCRIPT: script,
            EXPECTED: self.expected.model_dump_json(indent=1) + "\n",
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                with new_file(folder / name) as file:
                    file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise VicurError(
                f"cannot be written ({error.strerror}).", where=str(folder), remedy="Name another folder with --output."
            ) from error


def recipe_of(version: Version, provenance: Provenance, code: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return how to make a version again.

    Args:
        code: version of the training code that is installed here.
        overrides: settings like ``data=./photos``, for what is not recorded or is in another place here.

    Raises:
        VicurError: if too little is recorded, or an override is wrong.
    """
    lineage = provenance.lineage
    method = lineage.method
    settings = read_overrides(overrides, copy.deepcopy(provenance.run))
    missing = [name for name in _NEEDED if not settings.get(name)]
    if missing or not method or not lineage.checkpoint:
        what = listed(missing or ["method and checksum"], shown=5)
        raise VicurError(
            f"cannot be made again, because this is not recorded: {what}.",
            where=str(version),
            remedy="Add it with --set, such as --set data=./photos; vicur lineage shows what is known."
            if missing
            else "Register the student again with vicur register.",
        )
    located, absent = _located(settings)
    _as_it_ran(located["training"], provenance.environment)
    values = {
        "name": "reproduced",
        **located,
        "registry": {"model": version.model},
        # Its own store, so that no alias of the registry moves.
        "tracking": {"uri": "sqlite:///mlflow/mlflow.db"},
    }
    config: RunConfig = validated(RunConfig, values, Sources(str(version)))
    run = ["--config", CONFIG]
    commands = [
        ["vicur", "data", "prepare", *run, "--output", DATA],
        ["vicur", "cues", "extract", *run, "--dataset", DATA, "--output", CUES],
        ["vicur", "train", *run, "--method", method, "--dataset", DATA, "--cues", CUES, "--output", STUDENT],
        ["vicur", "reproduce", "--check", "."],
    ]
    expected = Expected(
        version=f"{version.model}/{version.number}",
        dataset=lineage.dataset,
        cues=lineage.cues,
        checkpoint=lineage.checkpoint,
    )
    warnings = [*absent, *_uncertain(config), *differences(provenance.environment, code)]
    return Recipe(config.model_dump(mode="json"), commands, expected, warnings)


def _located(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings with absolute paths, because the commands run in another folder, and a sentence for each that is not here."""
    result, absent = copy.deepcopy(dict(settings)), []
    for name, values in (
        ("data", result.get("data")),
        ("base", result.get("base")),
        ("training.teacher", result["training"].get("teacher")),
    ):
        if not isinstance(values, dict):
            continue
        path = values.get("path")
        if not isinstance(path, str) or path in SHIPPED or model_address(path) is not None:
            continue
        values["path"] = str(Path(path).absolute())
        if not Path(path).exists():
            absent.append(f"{name}.path {path} does not exist here. Name another place with --set {name}.path=...")
    return result, absent


def _as_it_ran(training: dict[str, Any], environment: Environment) -> None:
    """Write out what ``auto`` was, because it may be something else here."""
    distribution = training.setdefault("distribution", {})
    if environment.processes and distribution.get("processes", "auto") == "auto":
        distribution["processes"] = environment.processes
    if environment.device and training.get("device", "auto") == "auto":
        training["device"] = "cpu" if environment.device.startswith("cpu") else "cuda"


def _uncertain(config: RunConfig) -> Iterator[str]:
    provider = config.cues.provider
    if provider.type == "endpoint":
        yield f"The cues are answers of the model {provider.model} at an endpoint, which may answer differently today."


def differences(recorded: Environment, code: str) -> Iterator[str]:
    """Yield a sentence for each way in which this machine differs from the one that trained the student.

    Args:
        code: version of the training code that is installed here.
    """
    if not recorded.packages:
        yield "The packages and the machine of the training are not recorded, because an earlier release trained it."
        return
    here = Environment.here(code)
    if recorded.code != here.code:
        source = f"commit {recorded.revision}" if recorded.revision else f"vicur {recorded.vicur}"
        changed = ", and changes that were not committed" if recorded.revision.endswith("+") else ""
        yield f"The training's code has version {here.code} here, and had {recorded.code} ({source}{changed})."
    before = {"Python": recorded.python, "the processor": recorded.machine, **recorded.packages}
    now = {"Python": here.python, "the processor": here.machine, **here.packages}
    yield from worded(before, now, "{key} is {second} here, and was {first}.")
    # Which device a training would use here is not known without importing PyTorch.
    processes = f"{recorded.processes or 1} process{'es' if (recorded.processes or 1) > 1 else ''}"
    yield f"It was trained on {recorded.device or 'an unknown device'}, with {processes} of {recorded.threads or 1} CPU threads."


@dataclass(frozen=True)
class Comparison:
    """One result and what it must be."""

    name: str
    expected: str
    actual: str
    """Empty if it does not exist."""

    @property
    def same(self) -> bool:
        return self.expected == self.actual


def compare(folder: Path) -> tuple[Expected, list[Comparison]]:
    """Compare the results in a folder with what they must be, in the order in which they are made.

    Raises:
        VicurError: if the folder has no ``expected.json``.
    """
    path = folder / EXPECTED
    try:
        expected = Expected.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).",
            where=str(path),
            remedy="Name the folder that vicur reproduce --output wrote.",
        ) from error
    data, cues, student = folder / DATA, folder / CUES, folder / STUDENT
    return expected, [
        Comparison("dataset", expected.dataset, dvc_hash(data).md5 if data.is_dir() else ""),
        Comparison("cues", expected.cues, tree_sha256(cues) if cues.is_dir() else ""),
        Comparison("student", expected.checkpoint, checkpoint_sha256(student) if student.is_dir() else ""),
    ]
