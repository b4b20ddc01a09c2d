"""The wheel holds every package and every data file of the repository."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


@pytest.mark.parametrize(
    ("folder", "name"), [("vicur", "vicur"), ("components", "vicur_components"), ("pipelines", "vicur_pipelines")]
)
def test_every_package_is_in_the_wheel(folder, name):
    found = {".".join((name, *p.parent.relative_to(ROOT / folder).parts)) for p in (ROOT / folder).rglob("__init__.py")}
    assert found <= set(SETTINGS["packages"])


def test_every_data_file_is_in_the_wheel():
    declared = {
        path
        for package, patterns in SETTINGS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = {p for p in (ROOT / "vicur").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert files <= declared
