"""Rights that the code needs, derived from its calls of the Kubernetes client.

The right that a call needs is read from the client's source, where each method contains its path and HTTP method. Custom resources share
one class; which of them a module uses follows from the plurals that it contains.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from kubernetes import client

Right = tuple[str, str, str]
"""API group, resource and verb."""

FOR_ALL = {"selfsubjectaccessreviews"}
"""Resources that every authenticated account may use."""
PLURALS = {
    "trainjobs": "trainer.kubeflow.org",
    "trainingruntimes": "trainer.kubeflow.org",
    "localqueues": "kueue.x-k8s.io",
    "clusterqueues": "kueue.x-k8s.io",
    "workflows": "argoproj.io",
}
"""Custom resources that the code uses, with their groups."""
_CLASSES = [name for name in dir(client) if name.endswith("Api")]
_METHOD = re.compile(r"(create|list|read|get|patch|delete|replace|connect)_\w+")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def used_rights(package: Path) -> set[Right]:
    """Return the rights that a package's modules need."""
    modules = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    constants = {n: v for tree in modules.values() for n, v in _constants(tree) if n == "PLURAL"}
    return {right for tree in modules.values() for right in _module_rights(tree, constants)}


def _module_rights(tree: ast.Module, constants: dict[str, str]) -> Iterator[Right]:
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    plurals = (words & PLURALS.keys()) | {value for name, value in constants.items() if name in named}
    watched = {id(each) for each in _watched(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _METHOD.fullmatch(node.attr):
            for group, resource, verb in _rights_of(node.attr, named):
                kind = "watch" if id(node) in watched else verb
                if resource == "{plural}":
                    assert plurals, f"{node.attr} uses a custom resource that is not in PLURALS"
                    yield from ((PLURALS[plural], plural, kind) for plural in plurals)
                elif resource not in FOR_ALL:
                    yield group, resource, kind


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the string constants of a module by name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((target.id, node.value.value) for target in node.targets if isinstance(target, ast.Name))


def _watched(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield methods that are passed to a watch."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "stream"
            and node.args
        ):
            yield node.args[0]


def _rights_of(method: str, named: set[str]) -> Iterator[Right]:
    """Yield the rights that a method needs, in those of the client's classes that a module uses."""
    for name in named & set(_CLASSES):
        function = getattr(getattr(client, name), f"{method}_with_http_info", None)
        if function is not None:
            path, verb = re.search(r"call_api\(\s*'([^']+)', '(\w+)'", inspect.getsource(function)).groups()
            yield from _right(path, verb)


def _right(path: str, verb: str) -> Iterator[Right]:
    found = re.fullmatch(
        r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/\{namespace\})?"
        r"/(?P<resource>[\w{}]+)(?P<one>/\{name\})?(?P<part>/\w+)?",
        path,
    )
    # Discovery (/apis, /version) is allowed for every account.
    if found and found["resource"] != "namespaces":
        whole = verb == "GET" and not found["one"]
        yield found["group"] or "", found["resource"] + (found["part"] or ""), "list" if whole else _VERBS[verb]
