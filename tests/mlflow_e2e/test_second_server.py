"""A version is promoted on a second MLflow server, which has other users: copied there, whatever happens to that server meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow.pyfunc
import pytest
from mlflow import MlflowClient

from tests.mlflow_e2e.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.mlflow_e2e.stack import BUCKET, Stack
from tests.mlflow_e2e.test_faults import QUICK
from tests.mlflow_e2e.test_references import PREFIX
from tests.registry.conftest import Make
from tests.registry.factory import BETTER, GOOD, champion, run_register
from tests.tracking.server import Server, free_port
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.processes.retrying import retried
from vicur.registry import rollback
from vicur.registry.audit import audit
from vicur.registry.elsewhere import other_server, promote_elsewhere, server_of
from vicur.registry.promotion import Move
from vicur.storage.folders import files_below

OTHER = ("release", "a password of the second server")
UPLOAD = r"PUT .*/mlflow-artifacts/artifacts/.*model\.safetensors"


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("second"), free_port(), admin=OTHER)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def gateway(second: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The way to the second server, for a user that the first one does not know."""
    second.ensure_started()
    monkeypatch.setenv("VICUR_TO_USERNAME", OTHER[0])
    monkeypatch.setenv("VICUR_TO_PASSWORD", OTHER[1])
    with faulty_proxy(second.port) as running:
        yield running


@pytest.fixture
def copied(client: MlflowClient, registry: RegistryConfig, gateway: FaultyProxy) -> Callable[[], Move]:
    """Promote the champion on the second server."""
    name = registry.model

    def promote() -> Move:
        there = other_server(gateway.uri)
        return promote_elsewhere(server_of(client), name, "champion", there, into=name, experiment=name)

    return promote


def test_a_champion_goes_to_a_second_server_and_back(
    students: Make,
    registry: RegistryConfig,
    tracking: TrackingConfig,
    servers: Stack,
    gateway: FaultyProxy,
    copied: Callable[[], Move],
    data: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        for name, value in servers.store.items():
            patch.setenv(name, value)
        inputs, prefix = students(GOOD), f"{PREFIX}-second"
        for file in files_below(inputs["student"]):
            servers.bucket().upload_file(str(file), f"{prefix}/{file.relative_to(inputs['student'])}")
        by_reference = registry.model_copy(update={"weights": "reference"})
        addresses = {"student": f"minio://{BUCKET}/{prefix}"}
        run_register(inputs, config=by_reference, tracking=tracking, run_id="first", addresses=addresses)
        assert copied().champion == "1"
    run_register(students(BETTER), config=registry, tracking=tracking, run_id="better")
    move = copied()
    assert (move.champion, move.before) == ("2", "1")

    there = other_server(gateway.uri)
    with there.active() as client:
        assert audit(client, registry.model) == []
        assert rollback(client, registry.model, reason="a test").champion == "1"
        example = read_examples(data["dataset"], "test")[0]
        rows = [{"question": example.question, "image": example.images[0]}]
        # Without the bucket that the original's weights are in.
        served = mlflow.pyfunc.load_model(f"models:/{registry.model}@champion")
        assert served.predict(rows, params={"max_new_tokens": 4})["error"].tolist() == [None]
    with pytest.raises(VicurError, match="rolled back to version 1"):
        copied()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(UPLOAD, times=2, status=504),
        Fault(r"POST .*/model-versions/create", loses_response=True),
        Fault(r"POST .*/registered-models/alias", status=503),
    ],
    ids=["gateway", "lost response", "alias"],
)
def test_a_fault_of_the_second_server_gives_no_second_version(
    fault: Fault,
    students: Make,
    registry: RegistryConfig,
    tracking: TrackingConfig,
    gateway: FaultyProxy,
    copied: Callable[[], Move],
) -> None:
    run_register(students(GOOD), config=registry, tracking=tracking)
    gateway.faults.append(fault)
    assert retried(copied, QUICK, print).champion == "1"
    assert fault.seen
    with other_server(gateway.uri).active() as client:
        assert len(client.search_model_versions(f"name = '{registry.model}'")) == 1


def test_a_second_server_that_is_killed_during_the_upload_gets_the_version_later(
    students: Make,
    registry: RegistryConfig,
    tracking: TrackingConfig,
    second: Server,
    gateway: FaultyProxy,
    copied: Callable[[], Move],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_register(students(GOOD), config=registry, tracking=tracking)
    gateway.faults.append(Fault(UPLOAD, before=second.kill))
    with pytest.raises(VicurError, match=r"does not respond|refused a file with status 502") as raised:
        copied()
    assert raised.value.retryable
    second.start()
    assert copied().champion == "1"
    with other_server(gateway.uri).active() as client:
        assert len(client.search_model_versions(f"name = '{registry.model}'")) == 1
        assert champion(client, registry.model) == "1"
    monkeypatch.setenv("VICUR_TO_PASSWORD", "another password")
    with pytest.raises(VicurError, match="rejected the credentials") as refused:
        copied()
    assert "VICUR_TO_PASSWORD" in refused.value.remedy
