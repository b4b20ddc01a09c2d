"""Find the packages and the manifests. Everything else about the distribution is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = {"vicur": "vicur", "vicur_components": "components", "vicur_pipelines": "pipelines"}
# Has no modules. `vicur install` finds it as a folder next to the packages.
MANIFESTS = "vicur_k8s"

setup(
    package_dir={**FOLDERS, MANIFESTS: "k8s"},
    packages=[
        MANIFESTS,
        *(
            name
            for package, folder in FOLDERS.items()
            for name in (package, *(f"{package}.{sub}" for sub in find_packages(folder)))
        ),
    ],
)
