"""A double of the cache of Kubeflow Pipelines: which steps of a package run, given what ran before.

As in ``backend/src/v2/cacheutils`` of release 2.17, the fingerprint of a step covers its command and image as the package has them, its
resolved parameters, the names of its input artifacts, its outputs and its claims. A reused step keeps the artifacts of the earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.pipelines.kfp_execution import Artifact, Executed, Execution


class Cache:
    """The cache of a server."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, str]] = {}
        self._count = 0

    def run(self, execution: Execution) -> set[str]:
        """Execute a package and return the labels of the steps that run, such as ``train vicur``."""
        ran: set[str] = set()
        names: dict[Artifact, str] = {}
        for step in execution:
            if step.kind != "container":
                continue
            key = _fingerprint(step, names)
            cached = step.task.get("cachingOptions", {}).get("enableCache", False)
            if not cached or key not in self._known:
                ran.add(_label(step))
                self._known[key] = {output: self._new_name() for output in step.outputs}
            for output, name in self._known[key].items():
                names[Artifact(step.name, output, step.iteration)] = name
        return ran

    def _new_name(self) -> str:
        self._count += 1
        return str(self._count)


def _label(step: Executed) -> str:
    subject = step.parameters.get("step", {}).get("subject", "") if step.iteration is not None else ""
    return f"{step.name} {subject}".strip()


def _fingerprint(step: Executed, names: Mapping[Artifact, str]) -> str:
    container = step.executor["container"]
    parts: dict[str, Any] = {
        "artifacts": {name: [names[each] for each in found] for name, found in step.artifacts.items()},
        "parameters": step.parameters,
        "outputs": step.component.get("outputDefinitions"),
        "command": [*container["command"], *container["args"]],
        "image": container["image"],
        "claims": sorted(each["constant"] for each in step.kubernetes.get("pvcMount", ())),
    }
    return json.dumps(parts, sort_keys=True)
