"""Versions whose weights stay on S3, with moto's server; ``tests/mlflow_e2e/test_references.py`` has a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest

from tests.moto_s3 import empty_bucket, use_s3
from tests.registry.conftest import Make
from tests.registry.factory import CONFIG, GOOD, run_register
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.registry.checkpoints import fetch
from vicur.registry.lineage import checkpoint_sha256
from vicur.registry.weights import WEIGHTS, WeightsReference, address_on_s3, complete
from vicur.storage.folders import files_below
from vicur.tracking.mlflow import as_default, connect

BUCKET = "pipeline"
KEY = "runs/1/student/model.safetensors"
BY_REFERENCE = CONFIG.model_copy(update={"weights": "reference"})
# As Kubeflow Pipelines names its own store.
ADDRESSES = {"student": f"minio://{BUCKET}/runs/1/student"}


@pytest.fixture
def bucket(s3_address: str, students: Make, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket with the student GOOD, as the pipeline stores it."""
    use_s3(s3_address, monkeypatch)
    monkeypatch.setattr("vicur.storage.object_store._PAUSE", 0.0)
    student = students(GOOD)["student"]
    with empty_bucket(BUCKET) as made:
        for file in files_below(student):
            made.upload_file(str(file), f"runs/1/student/{file.relative_to(student)}")
        yield made


def weights_in_mlflow() -> list[Path]:
    return [*Path("mlflow/artifacts").rglob("*.safetensors")]


def register(students: Make, tracking: TrackingConfig, run_id: str = "run-1", **settings: Any) -> None:
    config = BY_REFERENCE.model_copy(update=settings)
    summary = run_register(students(GOOD), config=config, tracking=tracking, run_id=run_id, addresses=ADDRESSES)
    assert summary.version == "1"


@pytest.mark.usefixtures("bucket")
def test_a_version_with_a_reference_is_loaded_as_one_with_weights(
    students: Make, embedded: TrackingConfig, data: dict[str, Path]
) -> None:
    register(students, embedded)
    assert weights_in_mlflow() == []
    client, student = connect(embedded), students(GOOD)["student"]
    folder = fetch(client, "models:/students@champion", Path("served")).folder
    assert folder.name == checkpoint_sha256(student)
    assert (folder / "model.safetensors").read_bytes() == (student / "model.safetensors").read_bytes()
    example = read_examples(data["dataset"], "test")[0]
    with as_default(client):
        answers = mlflow.pyfunc.load_model("models:/students/1").predict(
            [{"question": example.question, "image": example.images[0]}]
        )
    assert answers["error"].tolist() == [None]


def test_weights_that_are_gone_or_changed_are_reported_and_uploaded_by_the_next_registration(
    bucket: Any, students: Make, embedded: TrackingConfig
) -> None:
    register(students, embedded)
    client, stored = connect(embedded), bucket.Object(KEY)
    content = stored.get()["Body"].read()
    stored.put(Body=content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VicurError, match="has another content than the weights that were registered") as caught:
        fetch(client, "models:/students/1", Path("served"))
    assert caught.value.where == f"s3://{BUCKET}/{KEY}"
    stored.put(Body=content * 3)
    with pytest.raises(VicurError, match="has another content"):
        fetch(client, "models:/students/1", Path("served"))
    stored.delete()
    with pytest.raises(VicurError, match=r"model\.safetensors: does not exist") as caught:
        fetch(client, "models:/students/1", Path("served"))
    assert "register the student again" in caught.value.remedy
    register(students, embedded, "run-2")
    assert len(weights_in_mlflow()) == 1
    assert fetch(client, "models:/students/1", Path("served")).fetched


@pytest.mark.parametrize("fault", ["changed", "gone with the version"])
def test_weights_that_cannot_be_used_at_the_address_are_uploaded_by_the_next_registration(
    fault: str, bucket: Any, students: Make, embedded: TrackingConfig
) -> None:
    register(students, embedded)
    client, stored = connect(embedded), bucket.Object(KEY)
    if fault == "changed":
        stored.put(Body=bytes(stored.content_length))
    else:
        stored.delete()
        # The upload stays, and the next version uses it.
        client.delete_model_version("students", "1")
    config = BY_REFERENCE
    version = run_register(
        students(GOOD), config=config, tracking=embedded, run_id="run-2", addresses=ADDRESSES
    ).version
    assert len(weights_in_mlflow()) == 1
    assert fetch(client, f"models:/students/{version}", Path("served")).fetched


@pytest.mark.usefixtures("bucket")
def test_registering_again_uploads_weights_if_references_are_not_wanted_any_more(
    students: Make, embedded: TrackingConfig
) -> None:
    register(students, embedded)
    register(students, embedded, "run-2")
    assert weights_in_mlflow() == [], "those at the address are still there"
    register(students, embedded, "run-3", weights="upload")
    assert len(weights_in_mlflow()) == 1


def test_other_weights_at_the_address_are_refused_before_a_version_exists(
    bucket: Any, students: Make, embedded: TrackingConfig
) -> None:
    content = bucket.Object(KEY).get()["Body"].read()
    bucket.Object(KEY).put(Body=bytes(len(content)))
    with pytest.raises(VicurError, match=r"is not model\.safetensors of the student that is registered"):
        register(students, embedded)
    client = connect(embedded)
    assert client.search_model_versions("name = 'students'") == []
    assert client.search_logged_models([client.get_experiment_by_name("vicur").experiment_id]) == []


def test_a_student_that_is_not_on_s3_is_uploaded(students: Make, embedded: TrackingConfig) -> None:
    run_register(students(GOOD), config=BY_REFERENCE, tracking=embedded, addresses={"student": "/runs/1/student"})
    assert len(weights_in_mlflow()) == 1


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("minio://mlpipeline/v2/artifacts/a", "s3://mlpipeline/v2/artifacts/a"),
        ("gs://bucket/a", None),
        ("/runs/a", None),
        ("", None),
        ("s3://", None),
    ],
)
def test_addresses_of_artifacts(uri: str, address: str | None) -> None:
    assert address_on_s3(uri) == address


FILE = {"bytes": 9, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        json.dumps({"address": "s3://bucket/a", "files": {}}),
        json.dumps({"address": "http://127.0.0.1/a", "files": {"model.safetensors": FILE}}),
        json.dumps({"address": "/etc", "files": {"model.safetensors": FILE}}),
        json.dumps({"address": "s3://bucket/a", "files": {"../model.safetensors": FILE}}),
        json.dumps({"address": "s3://bucket/a", "files": {"/etc/model.safetensors": FILE}}),
        json.dumps({"address": "s3://bucket/a", "files": {"config.json": FILE}}),
        json.dumps({"address": "s3://bucket/a", "files": {"model.safetensors": {**FILE, "bytes": -1}}}),
        json.dumps({"address": "s3://bucket/a", "files": {"model.safetensors": {**FILE, "sha256": "x"}}}),
        json.dumps({"address": "s3://bucket/" + "a" * (1 << 20), "files": {"model.safetensors": FILE}}),
    ],
)
def test_a_reference_to_anything_but_weights_on_s3_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_text(content)
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(VicurError, match="is damaged"):
        complete(tmp_path, tmp_path / "checkpoint")
    assert [*(tmp_path / "checkpoint").iterdir()] == []


def test_files_that_are_there_are_checked_and_not_fetched(tmp_path: Path) -> None:
    reference = WeightsReference.model_validate({"address": "s3://bucket/a", "files": {"model.safetensors": FILE}})
    (tmp_path / WEIGHTS).write_text(reference.model_dump_json())
    (tmp_path / "model.safetensors").write_bytes(b"x" * 9)
    with pytest.raises(VicurError, match="is damaged"):
        complete(tmp_path, tmp_path)
