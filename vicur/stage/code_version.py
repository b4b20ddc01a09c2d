"""Which code a stage runs: a hash that changes when its result may, and only then.

A pipeline's cache keys on a step's arguments and on the few lines of its component, behind which the library hides. So
the version of the code is an argument too. It covers the module of the stage and all of ``vicur`` that it imports
or starts, directly or not, as syntax trees without docstrings (comments and layout are not in a tree to begin with); the files that
these modules name and that lie beside them (page templates and the like); and the releases of the libraries that
compute.

Modules that only watch or drive a stage are left out, with what they alone import; so is what is imported for type
checkers alone. A name that a package's ``__init__`` hands on leads to the module that it comes from: otherwise every
stage would depend on whatever its packages export. An ``__init__`` that does more than hand on names counts whole.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import vicur

_NAME = re.compile(r"vicur(\.\w+)+")
_LIBRARIES = ("math-verify", "numpy", "pillow", "pyarrow", "scikit-learn", "torch", "transformers")
# Packages and modules that watch or drive a stage but take no part in its result.
_BYSTANDERS = (
    "vicur.cli",
    "vicur.errors",
    "vicur.processes.threads",
    "vicur.redaction",
    "vicur.stage",
    "vicur.steps",
    "vicur.tracking",
)


@cache
def code_version(module: str) -> str:
    """Version of the code behind the stage in ``module`` (``vicur.training.distill``), as 16 hex digits.

    Raises:
        ValueError: where ``vicur`` has no such module.
    """
    modules = sorted(modules_behind(module))
    digest = hashlib.sha256()
    for name in modules:
        digest.update(f"{name}={ast.dump(_tree(name))}\n".encode())
    for path in sorted({file for name in modules for file in _files_named_by(name)}):
        place = path.relative_to(_root()).as_posix()
        digest.update(f"{place}={hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for library in _LIBRARIES:
        digest.update(f"{library}={_release(library)}\n".encode())
    return digest.hexdigest()[:16]


def modules_behind(module: str) -> set[str]:
    """``module`` and what it imports at any distance, without going through bystanders.

    Raises:
        ValueError: where ``vicur`` has no such module.
    """
    if not _exists(module):
        raise ValueError(f"no module {module!r} in vicur")
    reached: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in reached and not _is_bystander(name):
            reached.add(name)
            pending += _imports(name)
            pending += [package for package in _packages_around(name) if not _only_hands_on(package)]
    return reached


def _is_bystander(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in _BYSTANDERS)


class _Undocumented(ast.NodeTransformer):
    """Drops strings that stand alone: they document a module, a function or an attribute, or do nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


def undocumented(source: str) -> ast.Module:
    """Syntax tree of a module without its docstrings."""
    tree: ast.Module = _Undocumented().visit(ast.parse(source))
    return tree


def _root() -> Path:
    return Path(str(vicur.__file__)).parents[1]


def _place(name: str) -> Path:
    """The file of a module, by its place: asking Python would import the packages around it, and torch with them."""
    place = _root().joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _exists(name: str) -> bool:
    # Where the package is installed, all others lie beside it.
    return name.partition(".")[0] == "vicur" and _place(name).is_file()


@cache
def _tree(name: str) -> ast.Module:
    return undocumented(_place(name).read_text(encoding="utf-8"))


def _packages_around(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@cache
def _imports(name: str) -> frozenset[str]:
    """Modules of ``vicur`` that a module imports, wherever in it, or names in full, as one does that is started as a process."""
    found: set[str] = set()
    for node in _run(_tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if _exists(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, name)
            found |= {origin for alias in node.names for origin in _origins(source, alias.name)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            found |= {node.value} if _exists(node.value) else set()
    return frozenset(found)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """A tree's nodes without what stands below ``if TYPE_CHECKING``, which no process runs."""
    yield tree
    skipped = tree.body if isinstance(tree, ast.If) and _name_of(tree.test) == "TYPE_CHECKING" else []
    for child in ast.iter_child_nodes(tree):
        if child not in skipped:
            yield from _run(child)


def _name_of(node: ast.expr) -> str | None:
    """The last part of a plain or dotted name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _source(node: ast.ImportFrom, importer: str) -> str:
    """Absolute name of the module that a ``from`` import takes from."""
    if node.level == 0:
        return node.module or ""
    package = importer if _place(importer).name == "__init__.py" else importer.rpartition(".")[0]
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _origins(module: str, name: str) -> set[str]:
    """The modules behind ``from <module> import <name>``; none where it is not of ``vicur``."""
    if not _exists(module):
        return set()
    if _exists(f"{module}.{name}"):
        return {f"{module}.{name}"}
    if _place(module).name == "__init__.py":
        for node in _tree(module).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _origins(_source(node, module), alias.name)
    return {module}


@cache
def _only_hands_on(package: str) -> bool:
    """Whether a package's ``__init__`` holds nothing but documentation, imports and dunder names."""
    return all(isinstance(node, ast.Import | ast.ImportFrom) or _is_dunder(node) for node in _tree(package).body)


def _is_dunder(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return bool(targets) and all(isinstance(t, ast.Name) and t.id.startswith("__") for t in targets)


def _files_named_by(name: str) -> Iterator[Path]:
    """Files beside a module that are no code, where a text in it names the file, a folder above it, or its ending."""
    place = _place(name)
    texts = {
        node.value for node in ast.walk(_tree(name)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for path in _files_of(place.parent):
        names = {path.name, path.suffix, *path.relative_to(place.parent).parts[:-1]} - {""}
        if any(each in text for each in names for text in texts):
            yield path


def _files_of(package: Path) -> list[Path]:
    """Files of a package that are neither code nor documentation, at any depth above the next package."""
    found: list[Path] = []
    for path in sorted(package.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").exists():
                found += _files_of(path)
        elif path.suffix not in (".py", ".pyc", ".md", ".typed"):
            found.append(path)
    return found


def _release(library: str) -> str:
    """Release of a library without its local part, which tells builds of one release apart (``2.13.0+cpu``)."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return "absent"
