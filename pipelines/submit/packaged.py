"""Read a compiled package: its name, its parameters and its steps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from vicur.errors import VicurError

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


def step_names(spec: Spec) -> list[str]:
    """Return the names of all tasks that run a container, including nested ones, each after the tasks that it waits for."""
    return list(dict.fromkeys(_leaves(spec.get("root") or {}, spec)))


def _leaves(component: Spec, spec: Spec) -> Iterator[str]:
    tasks = (component.get("dag") or {}).get("tasks") or {}
    # Sorted, so that the order of independent tasks is always the same.
    waits = {name: sorted(tasks[name].get("dependentTasks") or ()) for name in sorted(tasks)}
    for name in TopologicalSorter(waits).static_order():
        inner = (spec.get("components") or {}).get(tasks[name]["componentRef"]["name"]) or {}
        if "dag" in inner:
            yield from _leaves(inner, spec)
        else:
            yield name
