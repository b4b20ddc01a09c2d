"""Models at addresses: which content an address means, and the folder that it is staged to.

A run pins its addresses once, at its start, so that all of its steps read the same content, and its cache keys name it. Whichever step
reads a model first stages it: ``base`` the base model, preflight the teachers, so that no training waits for a download with its GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vicur.config.base import model_folder
from vicur.config.model_address import ClaimAddress, ModelAddress, model_address, models_folder, mounted
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.stage.events import Events
from vicur.stage.table import PipelineConfig
from vicur.weights.install import install, staged_record
from vicur.weights.sources import source_at

C = TypeVar("C", bound=PipelineConfig)


def staged(path: str, events: Events | None = None) -> Path:
    """Return the folder of a model. One at an address is fetched first, unless it was before.

    Raises:
        VicurError: if it cannot be fetched.
    """
    address = model_address(pinned_path(path))
    if not isinstance(address, ModelAddress):
        return model_folder(path)
    into, name = models_folder(), address.folder_name
    # Another model under that name can only be damaged.
    installed = install(source_at(address), str(into), name, replace=True, thorough=False, events=events)
    return Path(installed.place)


def is_staged(address: ModelAddress) -> bool:
    """Check whether a run would find the model at an address without fetching it."""
    return (
        bool(address.revision) and staged_record(source_at(address), models_folder() / address.folder_name) is not None
    )


def stage_models(section: Section, events: Events | None = None) -> None:
    """Stage the models that a stage with this section reads."""
    for path in section.model_paths().values():
        if events is not None and model_address(path) is not None:
            # The stage itself starts later, but people who follow the run wait for this.
            events.emit("started")
        staged(path, events)


def stage_teachers(config: PipelineConfig, events: Events) -> None:
    """Stage the models that the trainings of a run read."""
    for path in _teachers(config):
        staged(path, events)


def pinned(config: C, mounts: Mapping[str, Path] | None = None) -> C:
    """Return a configuration in which every address of a model names its content.

    Args:
        mounts: where the steps have the volumes of a cluster, by claim.

    Raises:
        VicurError: if an address cannot be read, or names another volume.
    """
    paths = {config.base.path, *_teachers(config)}
    changes = {path: new for path in paths if (new := pinned_path(path, mounts)) != path}
    if not changes:
        return config
    values = _replaced(config.model_dump(mode="json"), changes)
    result: C = validated(type(config), values, "the run's parameters")
    return result


def pinned_path(path: str, mounts: Mapping[str, Path] | None = None) -> str:
    """Return the path or address of a model so that it names its content, which for S3 is looked up."""
    address = model_address(path)
    if isinstance(address, ClaimAddress) and mounts is not None:
        return str(mounted(address, mounts))
    if isinstance(address, ModelAddress) and not address.revision:
        from vicur.weights.s3 import S3Source

        return str(address.at(S3Source(address.place).current_digest()))
    return path


def folder_name(text: str) -> str | None:
    """Return the name under which runs look for the model at an address, or ``None`` if that does not name its content."""
    address = model_address(text)
    return address.folder_name if isinstance(address, ModelAddress) and address.revision else None


def newest(text: str) -> str:
    """Return the address of the current content of a model on S3, or of the newest commit of a branch on the Hub.

    Raises:
        VicurError: if it is neither, or cannot be reached.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", text)
    if match is None:
        return pinned_path(text)
    from vicur.weights.hub import newest_commit

    return f"hf://{match[1]}@{newest_commit(match[1], match[2])}"


def _teachers(config: PipelineConfig) -> list[str]:
    return sorted({path for cell in config.cells() for path in cell.training.model_paths().values()})


def _replaced(values: Any, changes: Mapping[str, str]) -> Any:
    # Paths of teachers are in several places: shared, per method, and in the arms of an ablation.
    if isinstance(values, dict):
        return {
            key: changes.get(each, each) if key == "path" and isinstance(each, str) else _replaced(each, changes)
            for key, each in values.items()
        }
    return [_replaced(each, changes) for each in values] if isinstance(values, list) else values
