"""The packages pinned for the images agree with each other and include everything that the code imports."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.partition(" ;")[0].split("==") for line in lines if line and not line.startswith("#"))


def imported(folder: str) -> Iterator[str]:
    """Yield the top-level packages that the code in a folder imports, including imports in functions."""
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def test_both_images_have_the_same_releases_except_for_cuda_packages():
    cpu, gpu = pins("constraints.txt"), pins("constraints-gpu.txt")
    only_gpu = gpu.keys() - cpu.keys()
    assert {name: number for name, number in gpu.items() if name not in only_gpu} == {
        name: cpu[name] for name in gpu if name not in only_gpu
    }
    assert {"triton", "nvidia-nccl-cu13"} <= only_gpu
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in only_gpu)


def test_every_imported_package_is_pinned():
    # The embedded MLflow store, which images do not contain, needs libraries of its own.
    local = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"][
        "local"
    ]
    embedded = {Requirement(text).name for text in local} & pins("constraints.txt").keys()
    pinned = pins("constraints-gpu.txt").keys() | embedded
    names = {name for folder in ("vicur", "components", "pipelines") for name in imported(folder)}
    others = {name for name in names if name not in sys.stdlib_module_names and not name.startswith("vicur")}
    distributions = packages_distributions()
    providers = {name: {canonicalize_name(each) for each in distributions[name]} for name in others}
    assert {"mlflow", "pandas", "torch"} <= providers.keys()
    assert {name: by for name, by in providers.items() if not by & pinned} == {}


def test_every_declared_dependency_is_pinned_for_the_gpu_image():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [Requirement(text) for text in (*project["dependencies"], *extras["pipeline"], *extras["tracking"])]
    through_extras = [
        Requirement(text)
        for each in declared
        if each.name == "vicur"
        for extra in each.extras
        for text in extras[extra]
    ]
    names = {each.name for each in (*declared, *through_extras)} - {"vicur"}
    assert {"kfp", "openai", "pandas", "torch"} <= names <= pins("constraints-gpu.txt").keys()


def test_build_tools_are_pinned_with_their_dependencies():
    declared, pinned = pins("images/tools.in"), pins("images/tools.txt")
    assert declared.items() <= pinned.items()
    assert len(pinned) > len(declared)
