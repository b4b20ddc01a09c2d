"""A student whose weights stay in the pipeline's bucket on a real S3 server, registered with MLflow."""

from __future__ import annotations

from pathlib import Path

import boto3
import mlflow.pyfunc
import pytest
from mlflow import MlflowClient

from tests.mlflow_e2e.stack import BUCKET, Stack
from tests.registry.conftest import Make
from tests.registry.factory import GOOD, run_register
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.registry.checkpoints import fetch
from vicur.storage.folders import files_below
from vicur.tracking.mlflow import as_default

PREFIX = "v2/artifacts/run/train/student"


def test_weights_stay_in_the_bucket_of_the_pipeline(
    students: Make,
    registry: RegistryConfig,
    tracking: TrackingConfig,
    client: MlflowClient,
    servers: Stack,
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in servers.store.items():
        monkeypatch.setenv(name, value)
    inputs, bucket = students(GOOD), servers.bucket()
    for file in files_below(inputs["student"]):
        bucket.upload_file(str(file), f"{PREFIX}/{file.relative_to(inputs['student'])}")
    before = stored_weights(servers)
    settings = registry.model_copy(update={"weights": "reference"})

    def register(run_id: str) -> str:
        addresses = {"student": f"minio://{BUCKET}/{PREFIX}"}
        return run_register(inputs, config=settings, tracking=tracking, run_id=run_id, addresses=addresses).version

    assert register("one") == "1"
    assert stored_weights(servers) == before, "no second copy"
    address = f"models:/{registry.model}/1"
    example = read_examples(data["dataset"], "test")[0]
    with as_default(client):
        rows = [{"question": example.question, "image": example.images[0]}]
        assert mlflow.pyfunc.load_model(address).predict(rows)["error"].tolist() == [None]

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which has the right one
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(VicurError, match="weights of this version cannot be read") as caught:
        fetch(client, address, tmp_path / "served")
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.remedy
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.store["AWS_SECRET_ACCESS_KEY"])

    bucket.Object(f"{PREFIX}/model.safetensors").delete()
    with pytest.raises(VicurError, match=r"model\.safetensors: does not exist"):
        fetch(client, address, tmp_path / "served")
    assert register("again") == "1"
    fetched = fetch(client, address, tmp_path / "served").folder
    assert (fetched / "model.safetensors").read_bytes() == (inputs["student"] / "model.safetensors").read_bytes()


def stored_weights(servers: Stack) -> list[str]:
    return [each.key for each in servers.bucket().objects.all() if each.key.endswith(".safetensors")]
