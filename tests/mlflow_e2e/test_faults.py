"""A registration meets a server that is killed, a gateway's time-out, a full disk, wrong credentials and another registration.

Each fault is retried or ends in an error that says what to do. The student stays, and content never gets a second version.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.mlflow_e2e.faulty_proxy import Fault, FaultyProxy
from tests.mlflow_e2e.stack import ADMIN, USER, Stack
from tests.registry.conftest import Make
from tests.registry.factory import GOOD, run_register
from tests.registry.processes import job, run_jobs
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy, retried
from vicur.registry.checkpoints import fetch
from vicur.registry.versions import Version
from vicur.storage.folders import tree_sha256
from vicur.tracking.mlflow import connect

QUICK = RetryPolicy(retries=2, first=0.1, longest=0.2)
UPLOAD = r"PUT .*/mlflow-artifacts/artifacts/.*model\.safetensors"


@pytest.fixture
def inputs(students: Make) -> Mapping[str, Path]:
    return students(GOOD)


def require_one_version(client: MlflowClient, name: str, inputs: Mapping[str, Path], folder: Path) -> None:
    """Assert that there is one version, whose files are complete."""
    versions = client.search_model_versions(f"name = '{name}'")
    assert [(str(each.version), str(each.status)) for each in versions] == [("1", "READY")]
    fetched = fetch(client, f"models:/{name}/1", folder / "fetched").folder
    weights = "model.safetensors"
    assert (fetched / weights).read_bytes() == (inputs["student"] / weights).read_bytes()


def register_until_done(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    policy: RetryPolicy = QUICK,
) -> None:
    """Register as a step does that the platform repeats while its error is temporary."""
    retried(lambda: run_register(inputs, config=registry, tracking=tracking), policy, print)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_errors_of_a_gateway_during_an_upload_are_retried(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    proxy: FaultyProxy,
    client: MlflowClient,
    tmp_path: Path,
    status: int,
) -> None:
    proxy.faults += [Fault(UPLOAD, times=2, status=status)]
    assert run_register(inputs, config=registry, tracking=tracking).version == "1"
    assert proxy.faults[0].seen == 2
    require_one_version(client, registry.model, inputs, tmp_path)


@pytest.mark.parametrize(("status", "remedy"), [(413, "largest request"), (403, "permission"), (411, "server's log")])
def test_a_gateway_that_refuses_an_upload_is_reported_at_once(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    proxy: FaultyProxy,
    client: MlflowClient,
    status: int,
    remedy: str,
) -> None:
    proxy.faults += [Fault(UPLOAD, times=9, status=status)]
    with pytest.raises(VicurError, match=f"refused a file with status {status}") as caught:
        run_register(inputs, config=registry, tracking=tracking)
    assert remedy in caught.value.remedy
    assert not caught.value.retryable
    assert proxy.faults[0].seen == 1
    assert client.search_model_versions(f"name = '{registry.model}'") == []


@pytest.mark.parametrize(
    "request_line",
    [r"POST .*/registered-models/create", r"POST .*/model-versions/create", r"POST .*/logged-models$", UPLOAD],
)
def test_a_response_that_is_lost_makes_no_second_version(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    proxy: FaultyProxy,
    client: MlflowClient,
    tmp_path: Path,
    request_line: str,
) -> None:
    proxy.faults += [Fault(request_line, loses_response=True)]
    register_until_done(inputs, registry, tracking)
    assert proxy.faults[0].seen == 1
    require_one_version(client, registry.model, inputs, tmp_path)


def test_a_server_that_is_killed_during_an_upload(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    proxy: FaultyProxy,
    servers: Stack,
    client: MlflowClient,
    tmp_path: Path,
) -> None:
    student = tree_sha256(inputs["student"])
    proxy.faults += [Fault(UPLOAD, before=servers.server.kill)]
    with pytest.raises(VicurError) as caught:
        run_register(inputs, config=registry, tracking=tracking)
    assert caught.value.retryable
    assert caught.value.where == proxy.uri
    assert tree_sha256(inputs["student"]) == student
    servers.server.start()
    assert run_register(inputs, config=registry, tracking=tracking).version == "1"
    require_one_version(client, registry.model, inputs, tmp_path)


def test_a_full_disk_of_the_store(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    servers: Stack,
    client: MlflowClient,
    tmp_path: Path,
) -> None:
    student = tree_sha256(inputs["student"])
    with servers.full(), pytest.raises(VicurError) as caught:
        run_register(inputs, config=registry, tracking=tracking)
    assert caught.value.retryable, "someone may make room"
    assert tree_sha256(inputs["student"]) == student
    assert client.search_model_versions(f"name = '{registry.model}'") == []
    # The store takes up to a minute to notice that there is room again.
    register_until_done(inputs, registry, tracking, RetryPolicy(retries=6, first=20, longest=20))
    require_one_version(client, registry.model, inputs, tmp_path)


def test_wrong_credentials_are_refused_at_once(
    inputs: Mapping[str, Path], registry: RegistryConfig, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    with pytest.raises(VicurError, match="rejected the credentials") as caught:
        run_register(inputs, config=registry, tracking=tracking)
    assert "MLFLOW_TRACKING_PASSWORD" in caught.value.remedy
    assert not caught.value.retryable
    assert "another" not in str(caught.value)


def test_a_model_of_another_user_is_refused(
    inputs: Mapping[str, Path], registry: RegistryConfig, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
        patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
        connect(tracking).create_registered_model(registry.model)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER[1])
    with pytest.raises(VicurError, match="denied the request") as caught:
        run_register(inputs, config=registry, tracking=tracking)
    assert "permission" in caught.value.remedy
    assert not caught.value.retryable


def test_a_host_name_that_the_server_does_not_accept(proxy: FaultyProxy) -> None:
    with pytest.raises(VicurError, match="denied the request") as caught:
        connect(TrackingConfig(uri=f"http://localhost:{proxy.target}"))
    assert "--allowed-hosts" in caught.value.remedy


def test_two_registrations_of_one_student_at_once(
    inputs: Mapping[str, Path],
    registry: RegistryConfig,
    tracking: TrackingConfig,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del registry, tracking
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    for run in ("one", "other"):
        (tmp_path / run).mkdir()
    outcomes = run_jobs(*(job(tmp_path / run, inputs, run) for run in ("one", "other")))
    assert outcomes == [(0, "1"), (0, "1")]
    require_one_version(client, "students", inputs, tmp_path)


def test_readers_find_a_champion_at_every_moment_of_a_promotion(
    students: Make, registry: RegistryConfig, tracking: TrackingConfig, client: MlflowClient
) -> None:
    from vicur.registry import promote

    run_register(students(GOOD), config=registry, tracking=tracking)
    model = client.get_model_version(registry.model, "1")
    # A server names the logged model in the source only.
    model_id = Version.of(model, client).model_id
    client.create_model_version(registry.model, model.source, model.run_id, tags=model.tags, model_id=model_id)
    seen: list[str] = []
    stop = threading.Event()

    def read() -> None:
        reader = MlflowClient(client.tracking_uri, client.tracking_uri)
        while not stop.is_set():
            seen.append(str(reader.get_model_version_by_alias(registry.model, "champion").version))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for version in ("2", "1") * 4:
            promote(client, registry.model, version, force=True, reason="a test")
    finally:
        stop.set()
        thread.join()
    assert set(seen) == {"1", "2"}
