"""A Docker Engine with the cpu image for the tests marked ``docker``, which run only if that mark is selected."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from tests.e2e.engine import Engine, missing, private_engine
from tests.e2e.nodes import NETWORK, Cluster, final_weights, start, wait
from tests.tracking.server import Server, free_port
from tests.training.factory import SMALL
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.stage.runner import Session, execute
from vicur.tracking.tracker import Tracker

ROOT = Path(__file__).parents[2]
IMAGE = "vicur-python-e2e:cpu"
BASE = os.environ.get("VICUR_BASE", "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "docker" not in config.option.markexpr:
        skip = pytest.mark.skip(reason="builds an image and takes many minutes: make docker-e2e")
        for item in items:
            if "docker" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start a private Docker Engine, or use the one at ``DOCKER_HOST`` if ``VICUR_BASE`` names a base image there."""
    if BASE:
        yield Engine(tmp_path_factory.mktemp("engine"), os.environ["DOCKER_HOST"])
        return
    if reason := missing():
        pytest.fail(reason)
    with private_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """Build the cpu image from the last commit on a Debian base."""
    command = [
        str(ROOT / "images" / "build"),
        "cpu",
        "--base",
        BASE or engine.make_base(),
        "--tag",
        IMAGE,
        "--network",
        "host",
    ]
    # Use pip's configuration of this machine: its wheels (for PyTorch's CPU build), certificates and indexes.
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


@pytest.fixture(scope="session")
def network(engine: Engine) -> Iterator[str]:
    """Create a network on which nodes have host names, and yield this machine's address on it."""
    engine.docker("network", "create", NETWORK)
    gateway = "{{(index .IPAM.Config 0).Gateway}}"
    yield engine.docker("network", "inspect", "--format", gateway, NETWORK).stdout.strip()
    engine.docker("network", "rm", NETWORK)


@pytest.fixture(scope="session")
def cluster(engine: Engine, image: str, network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Prepare the inputs of a training run, and start an MLflow server that nodes can reach on their network."""
    root = tmp_path_factory.mktemp("inputs")
    session = Session("run", 0, None, tmp_path_factory.mktemp("scratch"), lambda _: Tracker())
    execute(PREPARE, SMALL, {}, root / "dataset", session)
    execute(EXTRACT, CuesConfig(provider=AnnotationCues()), {"dataset": root / "dataset"}, root / "cues", session)
    server = Server(tmp_path_factory.mktemp("mlflow"), free_port(), network)
    server.start()
    yield Cluster(engine, image, server.uri, root)
    server.stop()


@pytest.fixture(scope="session")
def one_process(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Return the weights after training with one process on one node."""
    nodes = start(cluster, tmp_path_factory.mktemp("nodes") / "one", 1)
    codes, output = wait(cluster, nodes)
    assert codes == [0], output
    return final_weights(nodes[0].out)
