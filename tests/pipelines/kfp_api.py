"""The API of Kubeflow Pipelines, read from the source of the generated client ``kfp_server_api``.

Paths, methods, query parameters and types come from the client, so that the double of the server has only the API that exists.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

import kfp_server_api

_KINDS = {"str": str, "int": int, "bool": bool, "float": float, "object": object, "datetime": str}


class Refused(Exception):  # noqa: N818 (an answer, not an error of the test)
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: int = 3, form: str = "message") -> None:
        super().__init__(message)
        self.status, self.body = status, {form: message, "code": code}


@dataclass(frozen=True)
class Route:
    """An operation of the API, as the generated client calls it."""

    name: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    body: str | None


def routes() -> list[Route]:
    """Return all operations of the generated client."""
    operations = []
    for kind in (each for name, each in vars(kfp_server_api).items() if name.endswith("ServiceApi")):
        for name, function in inspect.getmembers(kind, inspect.isfunction):
            if not name.endswith("_with_http_info"):
                continue
            source = inspect.getsource(function)
            path, method = re.search(r"'(/apis[^']*)', '([A-Z]+)'", source).groups()
            body_name = re.search(r"body_params = local_var_params\['(\w+)'\]", source)
            body = re.search(rf":type {body_name[1]}: (\w+)", source)[1] if body_name else None
            pattern = re.sub(
                r"\\\{(\w+(?:\\\.\w+)?)\\\}", lambda m: f"(?P<{m[1].split('.')[-1]}>[^/:]+)", re.escape(path)
            )
            query = frozenset(re.findall(r"query_params\.append\(\('(\w+)'", source))
            operations.append(Route(name.removesuffix("_with_http_info"), method, re.compile(pattern), query, body))
    return operations


def checked(value: Any, kind: str) -> Any:
    """Return ``value`` as the model called ``kind``. Refuse unknown fields and wrong types."""
    if kind in _KINDS:
        if not isinstance(value, _KINDS[kind]) or (kind == "int" and isinstance(value, bool)):
            raise Refused(400, f"{value!r} is not of type {kind}")
        return value
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        return [checked(each, inner[1]) for each in value]
    if inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return value if inner[1] == "object" else {key: checked(each, inner[1]) for key, each in value.items()}
    model = getattr(kfp_server_api, kind)
    if hasattr(model, "allowable_values"):
        if value not in model.allowable_values:
            raise Refused(400, f"{value!r} is not a value of {kind}")
        return value
    names = {key: name for name, key in model.attribute_map.items()}
    if unknown := value.keys() - names.keys():
        raise Refused(400, f"{kind} has no field {min(unknown)!r}")
    try:
        return model(**{names[key]: checked(each, model.openapi_types[names[key]]) for key, each in value.items()})
    except ValueError as error:
        raise Refused(400, str(error)) from error


def as_declared(value: Any) -> Any:
    """Return a message with the field names of the models. The SDK writes names in camel case and enumerations as numbers."""
    if isinstance(value, list):
        return [as_declared(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", key): as_declared(each) for key, each in value.items()}
    if isinstance(plain.get("operation"), int):
        plain["operation"] = kfp_server_api.V2beta1PredicateOperation.allowable_values[plain["operation"]]
    return plain
