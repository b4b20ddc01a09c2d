"""A compiled package as it lies on disk: what it is called, what it takes, and which steps it has."""

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
    """A compiled pipeline.

    Attributes:
        path: its file.
        pipeline: name of its pipeline.
        digest: sha256 of its bytes, in hex.
        spec: its pipeline spec.
    """

    path: Path
    pipeline: str
    digest: str
    spec: Spec

    @classmethod
    def read(cls, path: Path) -> Package:
        """Reads a package.

        Raises:
            VicurError: where there is none.
        """
        try:
            data = path.read_bytes()
            documents = list(yaml.safe_load_all(data))
        except OSError as error:
            raise VicurError(
                f"cannot be read ({error.strerror}).", where=str(path), remedy="Name a file that 'vicur compile' wrote."
            ) from error
        except (yaml.YAMLError, ValueError):
            documents = []
        if not documents or not _is_spec(documents[0]):
            raise VicurError(
                "is no compiled pipeline.", where=str(path), remedy="Name a YAML file that 'vicur compile' wrote."
            )
        return cls(path, documents[0]["pipelineInfo"]["name"], hashlib.sha256(data).hexdigest(), documents[0])

    @property
    def version(self) -> str:
        """Name of its version on a server: equal packages have one name, and no two others do."""
        return f"sha256-{self.digest[:_DIGITS]}"

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Its parameters by name, as the spec declares them."""
        return (self.spec["root"].get("inputDefinitions") or {}).get("parameters") or {}


def _is_spec(document: Any) -> bool:
    """Whether a document is a pipeline spec with a name and steps, as the server reads it."""
    from google.protobuf.json_format import ParseDict, ParseError
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

    if not isinstance(document, dict) or "pipelineInfo" not in document:
        return False
    try:
        spec = ParseDict(document, PipelineSpec(), ignore_unknown_fields=True)
    except (ParseError, TypeError, AttributeError, ValueError):  # what it makes of keys and values that no JSON has
        return False
    return bool(spec.pipeline_info.name) and spec.root.HasField("dag")


def step_names(spec: Spec) -> list[str]:
    """Names of the tasks of a pipeline that run a container, nested ones included, each after those that it waits for."""
    return list(dict.fromkeys(_leaves(spec.get("root") or {}, spec)))


def _leaves(component: Spec, spec: Spec) -> Iterator[str]:
    tasks = (component.get("dag") or {}).get("tasks") or {}
    # Sorted first: tasks that do not wait for each other come by name.
    waits = {name: sorted(tasks[name].get("dependentTasks") or ()) for name in sorted(tasks)}
    for name in TopologicalSorter(waits).static_order():
        inner = (spec.get("components") or {}).get(tasks[name]["componentRef"]["name"]) or {}
        if "dag" in inner:
            yield from _leaves(inner, spec)
        else:
            yield name
