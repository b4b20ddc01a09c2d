"""Validate manifests against published schemas: those of Kubernetes in several versions, and custom resource definitions.

Kubernetes' schemas are those of ``kubernetes-validate``, whose command accepts unknown kinds. Here an unknown kind is a problem. So is a
field that a definition does not contain, which the API server would drop.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import relevance
from referencing import Registry, Resource

from tests.k8s.render import Manifest, title

TWINS = {"TrainingRuntime": "ClusterTrainingRuntime"}
"""Kinds without a published definition, with a kind that has the same fields."""
UNPUBLISHED = {("serving.kserve.io/v1alpha1", "ServingRuntime"), ("serving.kserve.io/v1beta1", "InferenceService")}
"""Custom resources whose definitions may be missing. They are reported as unchecked then."""
VERSIONS = ("1.32", "1.35", "1.37")
"""Versions of Kubernetes: the oldest supported one, one in between, and the newest with schemas."""
_SCHEMAS = Path(str(files("kubernetes_validate"))) / "kubernetes-json-schema"


def problems(manifest: Manifest, version: str, crds: list[Path]) -> list[str]:
    """Return the problems of a manifest by its schema.

    Args:
        manifest: one object.
        version: version of Kubernetes.
        crds: files with custom resource definitions.
    """
    if is_unchecked(manifest, crds):
        return []
    key = _key(manifest)
    custom = _custom(tuple(crds))
    validator = _builtin(*key, version) or custom.get(key) or custom.get((key[0], TWINS.get(key[1], "")))
    if validator is None:
        return [f"{title(manifest)}: there is no schema of {key[1]} in {key[0]}"]
    errors = sorted(validator.iter_errors(manifest), key=relevance)
    return [f"{title(manifest)}: {'.'.join(map(str, e.absolute_path)) or 'it'}: {e.message}" for e in errors]


def is_unchecked(manifest: Manifest, crds: list[Path]) -> bool:
    """Return whether a manifest cannot be checked, because the definition of its kind is not among ``crds``."""
    return _key(manifest) in UNPUBLISHED and _key(manifest) not in _custom(tuple(crds))


def _key(manifest: Manifest) -> tuple[str, str]:
    return str(manifest.get("apiVersion")), str(manifest.get("kind"))


@functools.cache
def _builtin(api_version: str, kind: str, version: str) -> Draft202012Validator | None:
    group, _, name = api_version.rpartition("/")
    folder = _SCHEMAS / f"v{version}.0-local-strict"
    assert folder.is_dir(), f"kubernetes-validate has no schemas of {version}"
    # File names contain only the first label of a group. The schema itself rejects the apiVersion of another group.
    file = folder / f"{kind.lower()}-{group.split('.')[0] + '-' if group else ''}{name}.json"
    if not file.is_file():
        return None
    return Draft202012Validator(json.loads(file.read_text()), registry=Registry().with_resource(*_definitions(folder)))


@functools.cache
def _definitions(folder: Path) -> tuple[str, Resource[Any]]:
    resource = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
    return str(resource.id()), resource


@functools.cache
def _custom(crds: tuple[Path, ...]) -> dict[tuple[str, str], Draft202012Validator]:
    """Return validators of custom resources by apiVersion and kind."""
    found = {}
    for file in crds:
        for crd in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            for each in crd["items"] if crd["kind"].endswith("List") else [crd]:
                spec = each["spec"]
                for version in spec["versions"]:
                    if version["served"]:
                        schema = _closed(version["schema"]["openAPIV3Schema"], root=True)
                        key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                        found[key] = Draft202012Validator(schema)
    return found


def _closed(schema: Any, *, root: bool = False) -> Any:
    """Make a definition's schema reject unknown fields, as the API server's strict validation does."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {k: _fields(v) if k == "properties" else _closed(v) for k, v in schema.items()}
    if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
        if root:
            # Definitions do not contain the metadata, which the server validates itself.
            closed["required"] = sorted({*closed.get("required", ()), "metadata"})
            closed["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        closed.setdefault("additionalProperties", False)
    return closed


def _fields(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: _closed(schema) for name, schema in properties.items()}
