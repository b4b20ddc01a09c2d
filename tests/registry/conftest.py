"""Tiny Qwen3-VL students to register, evaluated by simulation, and stores to register them in."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evaluation.conftest import SMALL, context
from tests.evaluation.factory import BASE, Reader
from tests.registry.factory import GOOD, registration_inputs, run_register
from tests.tracking.conftest import empty_store, project, server
from tests.tracking.server import ENVIRONMENT, Server
from tests.training.factory import save_random_base
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.config.tracking import TrackingConfig
from vicur.cues import extract
from vicur.data import prepare
from vicur.registry.register import RegistrationSummary

__all__ = ["empty_store", "project", "server"]

OTHER = SMALL.model_copy(update={"test": Pool(digits_per_class=4, scenes=70)})

Make = Callable[..., dict[str, Path]]


def _prepare(root: Path, config: DigitScenesConfig) -> dict[str, Path]:
    (root / "dataset").mkdir()
    (root / "cues").mkdir()
    prepare(config, {}, root / "dataset", context(root))
    extract(CuesConfig(provider=AnnotationCues()), {"dataset": root / "dataset"}, root / "cues", context(root))
    return {"dataset": root / "dataset", "cues": root / "cues"}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small dataset of digit scenes and its cues."""
    return _prepare(tmp_path_factory.mktemp("data"), SMALL)


@pytest.fixture(scope="session")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Another dataset and its cues."""
    return _prepare(tmp_path_factory.mktemp("other"), OTHER)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights."""
    return save_random_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def students(data: dict[str, Path], base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that creates the inputs of the registration stage for a simulated reader, once per reader."""
    created: dict[str, dict[str, Path]] = {}

    def make(reader: Reader, base: Reader = BASE) -> dict[str, Path]:
        key = f"{reader} {base}"
        if key not in created:
            root = tmp_path_factory.mktemp(reader.method)
            created[key] = registration_inputs(root, data, base_model, reader, base)
        return created[key]

    return make


@dataclass(frozen=True)
class Registration:
    """A finished registration: the folder that it ran in, the tracking store, and the result."""

    root: Path
    tracking: TrackingConfig
    summary: RegistrationSummary


def register_in(root: Path, inputs: dict[str, Path], tracking: TrackingConfig) -> Registration:
    """Run a first registration in ``root``, without the developer's own MLflow settings."""
    with pytest.MonkeyPatch.context() as patch, chdir(root):
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        return Registration(root, tracking, run_register(inputs, tracking=tracking))


@pytest.fixture(scope="session")
def in_store(students: Make, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Registration:
    """GOOD as version 1 and champion of ``students`` in an embedded store. Only copies of the store may change."""
    root = tmp_path_factory.mktemp("registered")
    shutil.copytree(empty_store, root / "mlflow")
    return register_in(root, students(GOOD), TrackingConfig(uri=f"sqlite:///{root}/mlflow/mlflow.db"))


@pytest.fixture(scope="session")
def on_server(students: Make, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Registration:
    """GOOD as version 1 and champion of ``students`` on a server."""
    root = tmp_path_factory.mktemp("registered")
    return register_in(root, students(GOOD), TrackingConfig(uri=server.uri, experiment="registered"))


@pytest.fixture
def registered(in_store: Registration, project: Path) -> TrackingConfig:
    """A copy of the store in which GOOD is the champion, as the embedded store of the project."""
    copy = project / "mlflow"
    shutil.copytree(in_store.root / "mlflow", copy)
    _move_addresses(copy / "mlflow.db", str(in_store.root / "mlflow"), str(copy))
    return TrackingConfig()


def _move_addresses(database: Path, old: str, new: str) -> None:
    """Replace the address of the artifacts, which MLflow stores as an absolute path, in every text column."""
    with closing(sqlite3.connect(database)) as store, store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in store.execute(f'PRAGMA table_info("{table}")')]
            for column in columns:
                update = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'  # noqa: S608
                store.execute(update, (old, new, old))


@pytest.fixture
def embedded(empty_store: Path) -> TrackingConfig:
    """An empty embedded store."""
    shutil.copytree(empty_store, "mlflow")
    return TrackingConfig()
