import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.training.factory import SMALL, save_random_base
from tests.training.train_once import train_once
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.stage import Session, execute
from vicur.tracking import Tracker


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
    """The student of a training that nothing stopped."""
    return train_once(inputs, tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 that holds the empty bucket ``checkpoints``, which this process and those that it starts find."""
    environment = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="checkpoints")
    yield client
    for entry in client.list_objects_v2(Bucket="checkpoints").get("Contents", []):
        client.delete_object(Bucket="checkpoints", Key=entry["Key"])
    client.delete_bucket(Bucket="checkpoints")


def curves(student: Path) -> list[dict[str, float]]:
    """A student's records, without what a clock said."""
    records = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("seconds/") and k != "tokens_per_second"} for r in records]
