"""A Docker Engine and the cpu image on it, for the tests that are marked ``docker``: they run only where that mark is asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.engine import Engine, missing, private_engine

ROOT = Path(__file__).parents[2]
IMAGE = "vicur-python-e2e:cpu"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "docker" not in config.option.markexpr:
        skip = pytest.mark.skip(reason="builds an image and takes many minutes: make docker-e2e")
        for item in items:
            if "docker" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker Engine of these tests' own."""
    if reason := missing():
        pytest.fail(reason)
    with private_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The cpu image, built from the last commit on a base of Debian's packages."""
    command = [str(ROOT / "images" / "build"), "cpu", "--base", engine.make_base(), "--tag", IMAGE, "--network", "host"]
    # As pip is set up on this machine: where it finds PyTorch's build for CPUs, and what it trusts.
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if Path(wheels).is_dir() and any(Path(wheels).glob("*.whl")):
        command += ["--wheelhouse", wheels]
    if certificates := os.environ.get("PIP_CERT"):
        command += ["--ca-bundle", certificates]
    for option, variable in {"--index-url": "PIP_INDEX_URL", "--extra-index-url": "PIP_EXTRA_INDEX_URL"}.items():
        if value := os.environ.get(variable):
            command += [option, value]
    built = subprocess.run(command, env=engine.environment, capture_output=True, text=True, timeout=1800)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    return IMAGE
