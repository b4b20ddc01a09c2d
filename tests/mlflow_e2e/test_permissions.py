"""What users who may only read can do to the versions of others: nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.mlflow_e2e.stack import ADMIN, Stack
from tests.registry.conftest import Make
from tests.registry.factory import GOOD, run_register
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.registry.model_files import read_model_file, write_model_file
from vicur.registry.verdict import VERDICT
from vicur.registry.versions import get_version

READER = ("reader", "the reader's long password")


def test_a_reader_can_load_a_version_and_forge_nothing(
    students: Make,
    registry: RegistryConfig,
    tracking: TrackingConfig,
    client: MlflowClient,
    servers: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_register(students(GOOD), config=registry, tracking=tracking)
    user = dict(zip(("username", "password"), READER, strict=True))
    created = requests.post(f"{servers.server.uri}/api/2.0/mlflow/users/create", json=user, auth=ADMIN, timeout=60)
    created.raise_for_status()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", READER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", READER[1])

    name = registry.model
    version = get_version(client, name, "champion")
    verdict = read_model_file(client, version, VERDICT)
    assert verdict is not None
    run = client.get_model_version(name, "1").run_id
    forged = tmp_path / "metrics.json"
    forged.write_text("{}")
    forgeries: list[Callable[[], object]] = [
        lambda: client.set_registered_model_alias(name, "champion", "1"),
        lambda: client.delete_registered_model_alias(name, "champion"),
        lambda: client.set_model_version_tag(name, "1", "vicur.verdict", "passed"),
        lambda: client.set_registered_model_tag(name, "vicur.move", "{}"),
        lambda: client.update_model_version(name, "1", "another"),
        lambda: client.delete_model_version(name, "1"),
        lambda: client.create_model_version(name, f"models:/{version.model_id}", model_id=version.model_id),
        lambda: client.set_logged_model_tags(str(version.model_id), {"vicur.checkpoint": "0"}),
        lambda: client.delete_logged_model(str(version.model_id)),
        lambda: client.log_metric(run, "gate_passed", 1.0),
        lambda: client.log_artifact(run, str(forged), "evaluation"),
        lambda: write_model_file(client, version, VERDICT, "{}"),
    ]
    # An upload ends in an error of requests, whose text has the status.
    for forge in forgeries:
        with pytest.raises((MlflowException, requests.HTTPError), match=r"Permission denied|403"):
            forge()
    assert read_model_file(client, version, VERDICT) == verdict
    assert get_version(client, name, "champion").number == "1"
