"""What the images hold: the releases that they are pinned to, and that these are all that the code needs."""

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
    """Names of the packages that the code below a folder imports, wherever it does."""
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def test_both_images_hold_the_same_releases_and_the_gpu_image_cuda_s_packages_too():
    cpu, gpu = pins("constraints.txt"), pins("constraints-gpu.txt")
    more = gpu.keys() - cpu.keys()
    assert {name: number for name, number in gpu.items() if name not in more} == {
        name: cpu[name] for name in gpu if name not in more
    }
    assert {"triton", "nvidia-nccl-cu13"} <= more
    assert all(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in more)


def test_all_that_a_step_may_import_is_in_an_image():
    held = pins("constraints-gpu.txt").keys()
    names = {name for folder in ("vicur", "components", "pipelines") for name in imported(folder)}
    others = {name for name in names if name not in sys.stdlib_module_names and not name.startswith("vicur")}
    offered = {name: {canonicalize_name(each) for each in packages_distributions()[name]} for name in others}
    assert {"mlflow", "pandas", "torch"} <= offered.keys()
    assert {name: by for name, by in offered.items() if not by & held} == {}


def test_all_that_the_package_asks_for_in_an_image_is_pinned_for_the_gpu_image():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(text) for text in (*project["dependencies"], *extras["pipeline"], *extras["tracking"])]
    own = [
        Requirement(text) for each in asked if each.name == "vicur" for extra in each.extras for text in extras[extra]
    ]
    names = {each.name for each in (*asked, *own)} - {"vicur"}
    assert {"kfp", "openai", "pandas", "torch"} <= names <= pins("constraints-gpu.txt").keys()


def test_tools_that_build_an_image_are_pinned_with_all_that_they_need():
    asked, pinned = pins("images/tools.in"), pins("images/tools.txt")
    assert asked.items() <= pinned.items()
    assert len(pinned) > len(asked)
