"""One served student for all tests of a stranger's requests, and one in this process for those of the model's own code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from tests.registry.model_server import ModelServer
from tests.registry.packing import packed
from tests.registry.served.asking import MEMORY_MB, RECEIVE_SECONDS, question
from vicur.data import read_examples
from vicur.data.schema import Example


@pytest.fixture(scope="session")
def example(data: dict[str, Path]) -> Example:
    """A question about one image."""
    return read_examples(data["dataset"], "test")[0]


@pytest.fixture(scope="package")
def model(students: Make, example: Example, tmp_path_factory: pytest.TempPathFactory) -> mlflow.pyfunc.PyFuncModel:
    """A packaged student, loaded by MLflow."""
    folder = packed(students(GOOD)["student"], tmp_path_factory.mktemp("packed") / "model", example)
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="package")
def served(students: Make, example: Example, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    root = tmp_path_factory.mktemp("served")
    pictures = root / "pictures"
    pictures.mkdir()
    (pictures / "scene.png").write_bytes(example.images[0])
    (root / "secret.png").write_bytes(example.images[0])
    (pictures / "link.png").symlink_to("../secret.png")
    (pictures / "device").symlink_to("/dev/zero")
    (pictures / "pictures").symlink_to(".")
    os.mkfifo(pictures / "pipe")
    server = ModelServer(
        packed(students(GOOD)["student"], root / "model", example),
        root,
        VICUR_SERVE_LIMITS=f"receive_seconds={RECEIVE_SECONDS}, max_tokens=64, max_requests=8, max_rows=32",
        VICUR_SERVE_FOLDER=str(pictures),
    )
    try:
        server.wait()
        server.ask(*[question(example)] * 8)
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(served: ModelServer, example: Example) -> Iterator[ModelServer]:
    """The server, which answers after each test as before, has grown by no more than ``MEMORY_MB``, and named no path or code."""
    before = served.ask(question(example))
    served.reset_peak()
    held = served.memory()
    yield served
    assert served.ask(question(example)) == before
    assert served.memory("VmHWM") < held + MEMORY_MB
    assert served.process.poll() is None
