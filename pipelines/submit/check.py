"""Check the parameters of a run as its first step will, before the run is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vicur_pipelines.local import code_versions
from vicur_pipelines.submit.packaged import Package

from vicur.cluster.request import Request, resolved
from vicur.config.validation import validated
from vicur.errors import VicurError


@dataclass(frozen=True)
class _Compiled:
    preset: Mapping[str, Any]
    code_versions: Mapping[str, str]


def require_valid(package: Package, values: Mapping[str, Any], assignments: Sequence[str]) -> None:
    """Raise an error if the values do not make a valid configuration with the package's preset.

    A package of other code than this is left to its first step, because its settings may be others. So is one without a preset.

    Args:
        values: all parameters of the run.
        assignments: those that the user gave, as ``name=value``.
    """
    compiled = _compiled(package)
    if compiled is None or not compiled.code_versions.items() <= code_versions().items():
        return
    fields = {name: value for name, value in values.items() if name in Request.model_fields}
    try:
        resolved(compiled.preset, validated(Request, fields, "the run's parameters"))
    except VicurError as error:
        given = f"--param {assignments[0]}" if len(assignments) == 1 else error.where
        raise VicurError(error.problem, where=given, remedy=error.remedy) from error


def _compiled(package: Package) -> _Compiled | None:
    for component in package.spec["components"].values():
        for task in (component.get("dag") or {}).get("tasks", {}).values():
            inputs = (task.get("inputs") or {}).get("parameters", {})
            if inputs.keys() >= {"preset", "code_versions"}:
                constants = [
                    inputs[name].get("runtimeValue", {}).get("constant") for name in ("preset", "code_versions")
                ]
                return _Compiled(*constants) if None not in constants else None
    return None
