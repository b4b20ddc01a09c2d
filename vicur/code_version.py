"""Which code a stage runs: a hash that changes when its result may, and only then.

A pipeline's cache keys on a step's arguments and on the few lines of its component, behind which the library hides. So
the version of the code is an argument too. It covers the module of the stage and all of ``vicur`` that it imports,
directly or not: as syntax trees without docstrings (comments and layout are not in a tree to begin with), the files
that lie beside them (page templates and the like), and the releases of the libraries that compute. Modules that only
watch or drive a stage are left out, with what they alone import. Of the packages around a module only ``__init__``
itself counts: following what it re-exports would make every stage depend on every other.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import vicur

if TYPE_CHECKING:
    from grimp import ImportGraph

_LIBRARIES = ("math-verify", "numpy", "pillow", "pyarrow", "scikit-learn", "torch", "transformers")
# They watch or drive a stage but take no part in its result.
_BYSTANDERS = frozenset(
    f"vicur.{name}"
    for name in (
        "cli",
        "code_version",
        "errors",
        "events",
        "mlflow_store",
        "redaction",
        "session",
        "stage",
        "stages",
        "step",
        "threads",
        "tracking",
    )
)


@cache
def _graph() -> ImportGraph:
    import grimp

    # A cache folder would be written to wherever the user happens to stand.
    return grimp.build_graph("vicur", cache_dir=None)


def module_fingerprint(source: str) -> str:
    """Hash of a module's syntax tree without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Not only the first statement: a string alone documents an attribute or does nothing.
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def modules_behind(module: str, graph: ImportGraph) -> set[str]:
    """``module``, what it imports at any distance without going through bystanders, and the packages around them."""
    reached: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += graph.find_modules_directly_imported_by(name) - _BYSTANDERS
    packages = {name.rsplit(".", count)[0] for name in reached for count in range(1, name.count(".") + 1)}
    return reached | packages


def _files_beside(package: Path) -> list[Path]:
    """Files of a package that are neither code nor documentation, at any depth above the next package."""
    found: list[Path] = []
    for path in sorted(package.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").exists():
                found += _files_beside(path)
        elif path.suffix not in (".py", ".pyc", ".md", ".typed"):
            found.append(path)
    return found


def _source(name: str) -> Path:
    """The file of a module, by its place: asking Python would import the packages around it, and torch with them."""
    place = Path(vicur.__file__).parents[1].joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def code_version(module: str) -> str:
    """Version of the code behind the stage in ``module`` (``vicur.training.train``), as 16 hex digits.

    Raises:
        ValueError: where ``vicur`` has no such module.
    """
    graph = _graph()
    if module not in graph.modules:
        raise ValueError(f"no module {module!r} in vicur")
    sources = {name: _source(name) for name in sorted(modules_behind(module, graph))}
    digest = hashlib.sha256()
    for name, path in sources.items():
        digest.update(f"{name}={module_fingerprint(path.read_text(encoding='utf-8'))}\n".encode())
    for folder in sorted({path.parent for path in sources.values()}):
        for path in _files_beside(folder):
            digest.update(
                f"{path.relative_to(folder).as_posix()}={hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
            )
    for library in _LIBRARIES:
        digest.update(f"{library}={_release(library)}\n".encode())
    return digest.hexdigest()[:16]


def _release(library: str) -> str:
    """Release of a library without its local part, which tells builds of one release apart (``2.13.0+cpu``)."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return "absent"
