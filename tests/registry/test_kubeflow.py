"""The list of versions in a Kubeflow Model Registry: the registry's own client against a double of its server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.cli.calling import Command
from tests.cli.conftest import vicur
from tests.registry.conftest import Make
from tests.registry.factory import CONFIG, GOOD, run_register
from tests.registry.kubeflow_registry_double import KubeflowRegistryDouble, kubeflow_registry
from vicur.config.registry import KubeflowRegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy
from vicur.registry import kubeflow, promote, rollback
from vicur.registry.kubeflow import list_in_kubeflow
from vicur.tracking.mlflow import as_default, connect

__all__ = ["vicur"]

NAME = "students"


GATE_TAG, PASSED = "vicur.gate", "passed"


@pytest.fixture
def client(empty_store: Path) -> MlflowClient:
    """MLflow with two versions of one model, both of which passed the gate. The second has no description."""
    shutil.copytree(empty_store, "mlflow")
    client = connect(TrackingConfig())
    client.create_registered_model(NAME, description="Students.")
    run = client.create_run("0", run_name="train-vicur")
    for number in ("1", "2"):
        tags = {GATE_TAG: PASSED, "vicur.dataset": f"dataset-{number}", "vicur.gate.reasons": "better " * 400}
        source = f"{run.info.artifact_uri}/{number}"
        description = "**Better** than its base." if number == "1" else None
        client.create_model_version(NAME, source, run.info.run_id, tags=tags, description=description)
    return client


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeflowRegistryDouble]:
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH", raising=False)
    monkeypatch.setattr(kubeflow, "_RETRIES", RetryPolicy(retries=3, first=0.01, longest=0.02))
    with kubeflow_registry() as content:
        yield content


def add_model_version(client: MlflowClient) -> str:
    """Create a version of a logged model, and return the model's id."""
    model = client.create_logged_model("0", "student")
    client.finalize_logged_model(model.model_id, "READY")
    with as_default(client):
        client.create_model_version(NAME, f"models:/{model.model_id}", model_id=model.model_id)
    return str(model.model_id)


def listing(registry: KubeflowRegistryDouble) -> KubeflowRegistryConfig:
    return KubeflowRegistryConfig(url=registry.url, owner="Ada")


def test_versions_have_the_same_names_provenance_and_aliases(
    client: MlflowClient, registry: KubeflowRegistryDouble
) -> None:
    promote(client, NAME, "1", reason="for a test", force=True)
    assert list_in_kubeflow(listing(registry), client, NAME) == 2
    (model,) = registry.models.values()
    assert (model["name"], model["description"], model["owner"]) == (NAME, "Students.", "Ada")
    assert [each["name"] for each in registry.versions.values()] == ["1", "2"]
    assert registry.version("1")["description"].startswith("**Better** than its base.")
    assert registry.labels("1") == {"champion"}
    assert registry.labels("2") == set()
    properties = registry.properties("2")
    assert (properties["vicur.dataset"], properties[GATE_TAG]) == ("dataset-2", PASSED)
    assert all(len(value) <= 1000 for value in properties.values())
    assert not any("audit" in key for key in registry.properties("1"))
    artifact = registry.artifact("2")
    assert artifact["uri"].endswith("/2")
    assert (artifact["modelFormatName"], artifact["modelSourceName"]) == ("mlflow", "train-vicur")


def test_repeating_it_changes_nothing(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    list_in_kubeflow(listing(registry), client, NAME)
    registry.requests.clear()
    assert list_in_kubeflow(listing(registry), client, NAME) == 0
    assert all(request.startswith("GET") for request in registry.requests)


def test_promotion_and_rollback_move_the_labels(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    promote(client, NAME, "1", reason="for a test", force=True)
    list_in_kubeflow(listing(registry), client, NAME)
    promote(client, NAME, "2", reason="for a test", force=True)
    assert list_in_kubeflow(listing(registry), client, NAME) == 2
    assert (registry.labels("1"), registry.labels("2")) == ({"previous"}, {"champion"})
    rollback(client, NAME)
    list_in_kubeflow(listing(registry), client, NAME)
    assert (registry.labels("1"), registry.labels("2")) == ({"champion"}, set())


def test_properties_that_someone_added_there_stay(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    list_in_kubeflow(listing(registry), client, NAME)
    added = {"reviewed by": {"metadataType": "MetadataStringValue", "string_value": "Grace"}}
    registry.version("1")["customProperties"] |= added
    promote(client, NAME, "1", reason="for a test", force=True)
    list_in_kubeflow(listing(registry), client, NAME)
    assert registry.properties("1")["reviewed by"] == "Grace"
    assert registry.labels("1") == {"champion"}


def test_a_version_that_was_deleted_is_archived(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    add_model_version(client)
    promote(client, NAME, "3", force=True, reason="a test")
    list_in_kubeflow(listing(registry), client, NAME)
    assert registry.version("3")["state"] == "LIVE"
    client.delete_registered_model_alias(NAME, "champion")
    client.delete_model_version(NAME, "3")
    assert list_in_kubeflow(listing(registry), client, NAME) == 1
    assert (registry.version("3")["state"], registry.labels("3")) == ("ARCHIVED", set())
    assert list_in_kubeflow(listing(registry), client, NAME) == 0


@pytest.mark.parametrize("faults", [[503], [503, 503], [0], [409]])
def test_temporary_faults_are_retried_without_a_second_version(
    client: MlflowClient, registry: KubeflowRegistryDouble, faults: list[int]
) -> None:
    registry.faults += faults
    list_in_kubeflow(listing(registry), client, NAME)
    assert len(registry.models) == 1
    assert [each["name"] for each in registry.versions.values()] == ["1", "2"]
    assert registry.artifact("1")["uri"]


def test_a_listing_that_was_interrupted_is_completed(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    # The model and version 1 exist; the files of version 1 are refused until all attempts are used.
    list_in_kubeflow(listing(registry), client, NAME)
    registry.artifacts.clear()
    registry.faults += [500] * 4
    with pytest.raises(VicurError, match="HTTP 500") as caught:
        list_in_kubeflow(listing(registry), client, NAME)
    assert caught.value.retryable
    list_in_kubeflow(listing(registry), client, NAME)
    assert len(registry.artifacts) == 2


def test_the_same_name_of_another_mlflow_is_not_overwritten(
    client: MlflowClient, registry: KubeflowRegistryDouble
) -> None:
    add_model_version(client)
    list_in_kubeflow(listing(registry), client, NAME)
    other = {"metadataType": "MetadataStringValue", "string_value": "m-other"}
    registry.version("3")["customProperties"]["vicur.mlflow_model"] = other
    with pytest.raises(VicurError, match="another MLflow server") as caught:
        list_in_kubeflow(listing(registry), client, NAME)
    assert "registry.model" in caught.value.remedy


def test_a_moved_store_is_followed(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    list_in_kubeflow(listing(registry), client, NAME)
    registry.artifact("1")["uri"] = "s3://old/1"
    assert list_in_kubeflow(listing(registry), client, NAME) == 1
    assert registry.artifact("1")["uri"].endswith("/artifacts/1")


def test_more_versions_than_a_page(
    client: MlflowClient, registry: KubeflowRegistryDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeflow, "_PAGE", 1)
    list_in_kubeflow(listing(registry), client, NAME)
    assert list_in_kubeflow(listing(registry), client, NAME) == 0


def test_the_token_is_read_from_a_file(
    client: MlflowClient, registry: KubeflowRegistryDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.token = "secret"  # noqa: S105
    with pytest.raises(VicurError, match="refused the token"):
        list_in_kubeflow(listing(registry), client, NAME)
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert list_in_kubeflow(listing(registry), client, NAME) == 2
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(VicurError, match="cannot be read"):
        list_in_kubeflow(listing(registry), client, NAME)


def test_wrong_addresses(client: MlflowClient, registry: KubeflowRegistryDouble) -> None:
    with pytest.raises(VicurError, match="does not respond") as caught:
        list_in_kubeflow(KubeflowRegistryConfig(url="http://127.0.0.1:9"), client, NAME)
    assert caught.value.retryable
    with pytest.raises(VicurError, match="no Kubeflow Model Registry"):
        list_in_kubeflow(KubeflowRegistryConfig(url=f"{registry.url}/elsewhere"), client, NAME)
    with pytest.raises(VicurError, match="needs a token"):
        list_in_kubeflow(KubeflowRegistryConfig(url="https://127.0.0.1:9"), client, NAME)


@pytest.mark.parametrize(
    "url", ["registry:8080", "http://user:pass@registry", "http://registry?token=1", "ftp://registry"]
)
def test_addresses_are_validated(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        KubeflowRegistryConfig(url=url)


def test_registration_lists_the_version(
    students: Make, embedded: TrackingConfig, registry: KubeflowRegistryDouble
) -> None:
    config = CONFIG.model_copy(update={"kubeflow": listing(registry)})
    run_register(students(GOOD), config=config, tracking=embedded)
    assert registry.labels("1") == {"candidate", "champion"}
    assert registry.version("1")["description"]
    assert len(registry.properties("1")["vicur.dataset"]) == 36


def test_the_command_lists_versions_and_needs_an_address(
    client: MlflowClient, registry: KubeflowRegistryDouble, vicur: Command
) -> None:
    del client
    listed = vicur("registry", "sync", "--model", NAME, "--set", f"registry.kubeflow.url={registry.url}")
    assert (listed.code, "2 versions changed" in listed.output) == (0, True)
    assert len(registry.versions) == 2
    missing = vicur("registry", "sync", "--model", NAME)
    assert missing.code == 2
    assert "registry.kubeflow.url: is not set" in missing.error


def test_it_is_off_by_default(client: MlflowClient) -> None:
    assert list_in_kubeflow(KubeflowRegistryConfig(), client, NAME) == 0
