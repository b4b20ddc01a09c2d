import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.moto_s3 import empty_bucket, use_s3
from tests.training.factory import SMALL, save_random_base
from tests.training.train_once import train_once
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.stage.runner import Session, execute
from vicur.tracking.tracker import Tracker


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
