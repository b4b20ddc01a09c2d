"""Find the packages. Everything else about the distribution is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {"vicur": "vicur", "vicur_components": "components", "vicur_pipelines": "pipelines"}

setup(
    package_dir=FOLDERS,
    packages=[
        name
        for package, folder in FOLDERS.items()
        for name in (package, *(f"{package}.{sub}" for sub in find_packages(folder)))
    ],
)
