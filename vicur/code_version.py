"""Which code a stage runs: a hash that changes when its result may, and only then.

A pipeline's cache keys on a step's arguments and on the few lines of its component, behind which the library hides. So the
version of the code is an argument too. It covers the module of the stage and all of ``vicur`` that it imports, directly or not,
as syntax trees without docstrings (comments and layout are not in a tree to begin with), and the releases of the libraries
that compute.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("numpy", "pillow", "pyarrow", "scikit-learn", "torch", "transformers")
# They watch or drive a stage but take no part in its result.
_BYSTANDERS = frozenset({"vicur.cli", "vicur.events", "vicur.tracking", "vicur.stage", "vicur.code_version", "vicur.errors"})


@cache
def _graph() -> object:
    import grimp

    return grimp.build_graph("vicur", cache_dir=None)


def module_fingerprint(source: str) -> str:
    """Hash of a module's syntax tree without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            # Not only the first statement: a string alone documents an attribute or does nothing.
            node.body = [
                s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str))
            ]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def code_version(module: str) -> str:
    """Version of the code behind the stage in ``module`` (``vicur.training.train``), as 16 hex digits.

    Raises:
        ValueError: where ``vicur`` has no such module.
    """
    graph = _graph()
    if module not in graph.modules:  # type: ignore[attr-defined]
        raise ValueError(f"no module {module!r} in vicur")
    reached = {module, *graph.find_upstream_modules(module)} - _BYSTANDERS  # type: ignore[attr-defined]
    digest = hashlib.sha256()
    for name in sorted(reached):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"no source for {name!r}")
        digest.update(f"{name}={module_fingerprint(Path(spec.origin).read_text(encoding='utf-8'))}\n".encode())
    for library in _LIBRARIES:
        try:
            digest.update(f"{library}={version(library)}\n".encode())
        except PackageNotFoundError:
            digest.update(f"{library}=absent\n".encode())
    return digest.hexdigest()[:16]
