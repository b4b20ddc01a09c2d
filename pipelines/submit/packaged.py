"""Read a compiled package: its name, its parameters and its steps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from vicur.cluster.jobs.names import TASK
from vicur.errors import VicurError
from vicur.steps.parameters import CELLS

Spec = Mapping[str, Any]
_DIGITS = 16


@dataclass(frozen=True)
class Package:
    """A compiled pipeline."""

    path: Path
    pipeline: str  # its name
    digest: str  # SHA-256 of the file, in hex
    spec: Spec

    @classmethod
    def read(cls, path: Path) -> Package:
        """Read a package, or raise :class:`VicurError` if the file is not one."""
        try:
            data = path.read_bytes()
            documents = list(yaml.safe_load_all(data))
        except OSError as error:
            raise VicurError(
                f"the package cannot be read: {error.strerror}.",
                where=str(path),
                remedy="Name a file that 'vicur compile' wrote.",
            ) from error
        except (yaml.YAMLError, ValueError):
            documents = []
        if not documents or not _is_spec(documents[0]):
            raise VicurError(
                "the file is not a compiled pipeline.",
                where=str(path),
                remedy="Name a YAML file that 'vicur compile' wrote.",
            )
        return cls(path, documents[0]["pipelineInfo"]["name"], hashlib.sha256(data).hexdigest(), documents[0])

    @property
    def version(self) -> str:
        """Name of its version on a server, which only equal packages share."""
        return f"sha256-{self.digest[:_DIGITS]}"

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Declarations of its parameters by name."""
        return (self.spec["root"].get("inputDefinitions") or {}).get("parameters") or {}


def _is_spec(document: Any) -> bool:
    from google.protobuf.json_format import ParseDict, ParseError
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

    if not isinstance(document, dict) or "pipelineInfo" not in document:
        return False
    try:
        spec = ParseDict(document, PipelineSpec(), ignore_unknown_fields=True)
    except (ParseError, TypeError, AttributeError, ValueError):  # the last three for keys and values that JSON lacks
        return False
    return bool(spec.pipeline_info.name) and spec.root.HasField("dag")


@dataclass(frozen=True)
class PackagedStep:
    """A task of a package that runs a container."""

    name: str
    label: str  # value of the pods' label vicur.dev/task; empty in other packages
    memory: str  # memory limit, such as 8Gi; empty if the package does not fix it
    has_gpus: bool
    looped: bool = False  # whether it runs once per cell


def packaged_steps(spec: Spec, platform: Spec) -> dict[str, PackagedStep]:
    """Return the tasks that run a container by name, including nested ones, each after the tasks that it waits for."""
    leaves = _leaves(spec.get("root") or {}, spec, looped=False)
    return {name: _step(name, component, looped, spec, platform) for name, component, looped in leaves}


def step_names(spec: Spec) -> list[str]:
    """Return the names of all tasks that run a container, each after the tasks that it waits for."""
    return list(packaged_steps(spec, {}))


def _step(name: str, component: Spec, looped: bool, spec: Spec, platform: Spec) -> PackagedStep:
    executor = component.get("executorLabel", "")
    container = _inner(spec, "deploymentSpec", "executors", executor, "container")
    resources = container.get("resources") or {}
    memory = str(resources.get("resourceMemoryLimit") or "")
    settings = _inner(platform, "platforms", "kubernetes", "deploymentSpec", "executors", executor)
    label = _inner(settings, "podMetadata", "labels").get(TASK, "")
    # A value in braces is a parameter of the run.
    return PackagedStep(name, label, "" if "{" in memory else memory, "accelerator" in resources, looped)


def _inner(values: Spec, *keys: str) -> Spec:
    for key in keys:
        values = values.get(key) or {}
    return values


def _leaves(component: Spec, spec: Spec, *, looped: bool) -> Iterator[tuple[str, Spec, bool]]:
    tasks = (component.get("dag") or {}).get("tasks") or {}
    # Sorted, so that the order of independent tasks is always the same.
    waits = {name: sorted(tasks[name].get("dependentTasks") or ()) for name in sorted(tasks)}
    for name in TopologicalSorter(waits).static_order():
        inner = (spec.get("components") or {}).get(tasks[name]["componentRef"]["name"]) or {}
        if "dag" in inner:
            # Another loop may go through the portions of a stage.
            over = str(_inner(tasks[name], "parameterIterator", "items").get("inputParameter") or "")
            yield from _leaves(inner, spec, looped=looped or over.endswith(CELLS))
        else:
            yield name, inner, looped
