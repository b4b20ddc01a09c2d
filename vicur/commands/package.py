"""Read the configuration that a compiled package contains, without kfp."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vicur.config.run import RunConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.stage.table import PipelineConfig
from vicur.steps.sections import config_of

_PREFLIGHT = "preflight"
_OPTION = "--package"


def package_config(file: Path) -> PipelineConfig:
    """Return the configuration of a package: its preset, or the defaults of its sections.

    Raises:
        VicurError: if the file is not a package of ``vicur compile``.
    """
    constants, defaults = _parameters(_graph(file))
    if "preset" in constants:
        config: RunConfig = validated(RunConfig, constants["preset"], f"{_OPTION} {file}")
        return config
    if not defaults:
        raise _not_a_package(file, "its preflight step has no preset")
    return config_of({**defaults, **constants})


def _graph(file: Path) -> Mapping[str, Any]:
    try:
        with file.open(encoding="utf-8") as stream:
            # A package is one document, or two with the settings of the platform.
            graph = next(yaml.safe_load_all(stream), None)
    except OSError as error:
        raise VicurError(
            f"the file cannot be read: {error.strerror}.",
            where=f"{_OPTION} {file}",
            remedy="Name a file that 'vicur compile' has written.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _not_a_package(file, "it is not YAML") from error
    if not isinstance(graph, dict) or "root" not in graph:
        raise _not_a_package(file, "it is not a pipeline")
    return graph


def _parameters(graph: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the constants that a package gives its preflight step, and the defaults of the package's parameters."""
    declared = graph["root"].get("inputDefinitions", {}).get("parameters", {})
    defaults = {name: _value(each["defaultValue"]) for name, each in declared.items() if "defaultValue" in each}
    dags = [graph["root"], *graph.get("components", {}).values()]
    constants: dict[str, Any] = {}
    for task in (task for dag in dags for task in dag.get("dag", {}).get("tasks", {}).values()):
        if task.get("taskInfo", {}).get("name") == _PREFLIGHT:
            constants.update(_constants(task))
    return constants, defaults


def _constants(task: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, each in task.get("inputs", {}).get("parameters", {}).items():
        if "constant" in each.get("runtimeValue", {}):
            yield name, _value(each["runtimeValue"]["constant"])


def _value(written: Any) -> Any:
    # KFP writes a mapping as YAML, or as JSON in a string.
    if isinstance(written, str) and written[:1] in ("{", "["):
        try:
            return json.loads(written)
        except ValueError:
            return written
    return written


def _not_a_package(file: Path, reason: str) -> VicurError:
    return VicurError(
        f"this is not a package for a cluster: {reason}.",
        where=f"{_OPTION} {file}",
        remedy="Name a file that 'vicur compile' of this release has written.",
    )
