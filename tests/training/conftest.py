import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.moto_s3 import empty_bucket, use_s3
from tests.training.factory import SMALL, save_random_base
from tests.training.train_once import tracking, train_once
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.stage.runner import Session, execute
from vicur.tracking.mlflow import connect
from vicur.tracking.tracker import Tracker


def created_once(factory: pytest.TempPathFactory, name: str, create: Callable[[Path], object]) -> Path:
    """Return a folder that all workers of pytest-xdist share. The first that needs it creates its content; the others wait."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    complete = folder.with_suffix(".complete")
    with FileLock(folder.with_suffix(".lock")):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            create(folder)
            complete.touch()
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights."""
    return save_random_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def session(tmp_path_factory) -> Session:
    root = tmp_path_factory.mktemp("session")
    return Session("run", 0, None, root / "scratch", lambda _: Tracker())


@pytest.fixture(scope="session")
def inputs(session, base, tmp_path_factory) -> dict[str, Path]:
    """A small dataset with its cues, and the base."""
    root = tmp_path_factory.mktemp("inputs")
    execute(PREPARE, SMALL, {}, root / "dataset", session)
    cues = CuesConfig(provider=AnnotationCues())
    execute(EXTRACT, cues, {"dataset": root / "dataset"}, root / "cues", session)
    return {"base": base, "dataset": root / "dataset", "cues": root / "cues"}


@pytest.fixture(scope="session")
def uninterrupted(inputs, tmp_path_factory) -> Path:
    """The student of an uninterrupted training."""
    return train_once(inputs, tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture(scope="session")
def new_root(tmp_path_factory) -> Callable[[Path], Path]:
    """Return a function that creates a folder for a training, with an empty MLflow store.

    It copies one store, since MLflow's migrations take seconds for each new one.
    """
    template = tmp_path_factory.mktemp("mlflow")
    connect(tracking(template))

    def create(root: Path) -> Path:
        root.mkdir()
        shutil.copy(template / "mlflow.db", root / "mlflow.db")
        return root

    return create


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server with the empty bucket ``checkpoints``, configured for this process and its children."""
    use_s3(s3_address, monkeypatch)
    with empty_bucket("checkpoints") as bucket:
        yield bucket.meta.client


def curves(student: Path) -> list[dict[str, float]]:
    """Return a student's metrics without times."""
    records = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("seconds/") and k != "tokens_per_second"} for r in records]
