"""Schemas of a TrainJob in Kubeflow Trainer 2.0, 2.1 and 2.3, and validation against them as a strict server does it.

The files in ``schemas/`` are taken from Trainer's definitions (Apache License 2.0), without descriptions and without the fields of volumes,
containers and affinities, which our jobs do not set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]

VERSIONS = ("2.0", "2.1", "2.3")
_OPEN = "x-kubernetes-preserve-unknown-fields"


def schema_of(version: str) -> Json:
    """Return the schema of a version of Trainer."""
    return json.loads((Path(__file__).parent / "schemas" / f"trainjob-{version}.json").read_text(encoding="utf-8"))


def problems(schema: Json, job: Json) -> list[str]:
    """Return what is invalid in a job: types, values, missing fields, and fields that the server would drop."""
    wrong = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(_plain(schema)).iter_errors(job)]
    return wrong + [f"unknown field {path}" for path in _unknown(schema, job, "")]


def _plain(schema: Any) -> Any:
    """Convert a schema to plain JSON Schema, which does not have Kubernetes' type "integer or string"."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        plain.pop("type", None)
        plain.pop("pattern", None)
    return plain


def _unknown(schema: Json, value: Any, path: str) -> Iterator[str]:
    if schema.get(_OPEN) or path == ".metadata":
        return
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unknown(schema.get("items", {}), each, f"{path}[{number}]")
    elif isinstance(value, dict) and "properties" in schema:
        for name, each in value.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}"
            else:
                yield from _unknown(schema["properties"][name], each, f"{path}.{name}")
