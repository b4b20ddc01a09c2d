"""Version of the code behind a stage: a hash that changes if, and only if, the stage's result may change.

A pipeline's cache keys a step on its arguments and on the few lines of its component, which do not contain the library. So the
version of the library's code is passed as an argument. It covers

- the stage's module and every module of ``vicur`` that it imports or starts, directly or not, as syntax trees without docstrings
- files next to these modules that they name, such as page templates
- the releases of the libraries that compute

Left out are modules that only run or observe a stage (with the modules that only they import) and imports for type checkers. A
name that a package's ``__init__`` re-exports leads to the module that defines it; otherwise each stage would depend on everything
that its packages export. An ``__init__`` that contains more than imports counts as a whole.
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
_ABSENT = "absent"
# Packages and modules that run or observe a stage without affecting its result.
EXCLUDED = (
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
    """Return the version of the code behind the stage in ``module`` (``vicur.training.train``) as 16 hex digits.

    Raises:
        ValueError: if ``vicur`` has no such module.
    """
    modules = sorted(modules_behind(module))
    digest = hashlib.sha256()
    for name in modules:
        digest.update(f"{name}={_tree_hash(name)}\n".encode())
    for path in sorted({file for name in modules for file in _files_named_by(name)}):
        relative = path.relative_to(_root()).as_posix()
        digest.update(f"{relative}={hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    for library in _LIBRARIES:
        digest.update(f"{library}={_release(library)}\n".encode())
    return digest.hexdigest()[:16]


def missing_libraries() -> list[str]:
    """Return the libraries that compute but are not installed here. Without them, code versions are not those of an image."""
    return [library for library in _LIBRARIES if _release(library) == _ABSENT]


def modules_behind(module: str) -> set[str]:
    """Return ``module`` and all modules that it imports, directly or not, without following excluded ones.

    Raises:
        ValueError: if ``vicur`` has no such module.
    """
    if not _exists(module):
        raise ValueError(f"no module {module!r} in vicur")
    reached: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in reached and not _is_excluded(name):
            reached.add(name)
            pending += _imports(name)
            pending += [package for package in _parents(name) if not _only_reexports(package)]
    return reached


def _is_excluded(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in EXCLUDED)


class _DocstringRemover(ast.NodeTransformer):
    # A string that is a statement documents a module, a function or an attribute, or has no effect.
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


def without_docstrings(source: str) -> ast.Module:
    """Parse a module and remove its docstrings. Comments and layout are not part of a syntax tree anyway."""
    tree: ast.Module = _DocstringRemover().visit(ast.parse(source))
    return tree


def _root() -> Path:
    return Path(str(vicur.__file__)).parents[1]


def _file(name: str) -> Path:
    # Built from the name: importlib.util.find_spec would import the parent packages, and torch with them.
    file = _root().joinpath(*name.split("."))
    return file / "__init__.py" if file.is_dir() else file.with_suffix(".py")


@cache
def _exists(name: str) -> bool:
    # The root is site-packages if vicur is installed, so other packages would be found there too.
    return name.partition(".")[0] == "vicur" and _file(name).is_file()


@cache
def _tree(name: str) -> ast.Module:
    return without_docstrings(_file(name).read_text(encoding="utf-8"))


@cache
def _tree_hash(name: str) -> str:
    return hashlib.sha256(ast.dump(_tree(name)).encode()).hexdigest()


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@cache
def _imports(name: str) -> frozenset[str]:
    """Return the modules of ``vicur`` that a module imports anywhere, or names in a string (it may start them as processes)."""
    modules: set[str] = set()
    for node in _runtime_nodes(_tree(name)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if _exists(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, name)
            modules |= {origin for alias in node.names for origin in _origins(source, alias.name)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            modules |= {node.value} if _exists(node.value) else set()
    return frozenset(modules)


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without the bodies of ``if TYPE_CHECKING``, which never run."""
    yield tree
    skipped = tree.body if isinstance(tree, ast.If) and _last_name(tree.test) == "TYPE_CHECKING" else []
    for child in ast.iter_child_nodes(tree):
        if child not in skipped:
            yield from _runtime_nodes(child)


def _last_name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _source(node: ast.ImportFrom, importer: str) -> str:
    """Return the absolute name of the module that a ``from`` statement imports from."""
    if node.level == 0:
        return node.module or ""
    package = importer if _file(importer).name == "__init__.py" else importer.rpartition(".")[0]
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _origins(module: str, name: str) -> set[str]:
    """Return the modules behind ``from <module> import <name>``; none if ``module`` is not part of ``vicur``."""
    if not _exists(module):
        return set()
    if _exists(f"{module}.{name}"):
        return {f"{module}.{name}"}
    if _file(module).name == "__init__.py":
        for node in _tree(module).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return _origins(_source(node, module), alias.name)
    return {module}


@cache
def _only_reexports(package: str) -> bool:
    # Docstrings are removed from the tree already.
    return all(isinstance(node, ast.Import | ast.ImportFrom) or _is_dunder(node) for node in _tree(package).body)


def _is_dunder(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return bool(targets) and all(isinstance(t, ast.Name) and t.id.startswith("__") for t in targets)


@cache
def _files_named_by(name: str) -> list[Path]:
    """Return data files next to a module if a string in it contains the file's name, one of its folders or its suffix."""
    folder = _file(name).parent
    candidates = _data_files(folder)
    # Few packages have data files, and walking a tree takes longer than listing a folder.
    if not candidates:
        return []
    texts = {
        node.value for node in ast.walk(_tree(name)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = []
    for path in candidates:
        names = {path.name, path.suffix, *path.relative_to(folder).parts[:-1]} - {""}
        if any(each in text for each in names for text in texts):
            named.append(path)
    return named


@cache
def _data_files(package: Path) -> list[Path]:
    """Return the files of a package that are neither code nor documentation, including folders that are not packages."""
    files: list[Path] = []
    for path in sorted(package.iterdir()):
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").exists():
                files += _data_files(path)
        elif path.suffix not in (".py", ".pyc", ".md", ".typed"):
            files.append(path)
    return files


def _release(library: str) -> str:
    # The local part names a build of a release (2.13.0+cpu); the CPU and GPU images compute the same.
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        return _ABSENT
