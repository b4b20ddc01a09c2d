"""Fetching from a double of the Hub with the real huggingface_hub client."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_xet import XetAuthenticationError
from huggingface_hub.errors import OfflineModeIsEnabled

from tests.full_disk import full_disk
from tests.weights.factory import STAGED, names_below
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub
from vicur.errors import VicurError
from vicur.weights import check, install, model_source
from vicur.weights.record import read_record


def test_files_that_can_run_code_are_not_fetched(hub: Hub, tmp_path: Path) -> None:
    installed = install(model_source(REPOSITORY, COMMIT), str(tmp_path / "cache"))
    assert installed.place == str(tmp_path / "cache" / "tiny-model")
    assert names_below(tmp_path / "cache" / "tiny-model") == STAGED
    record = check(tmp_path / "cache" / "tiny-model")
    assert (record.origin, record.revision) == (REPOSITORY, COMMIT)
    assert not [path for path in hub.requests if path.endswith((".bin", ".py"))]


def test_an_installed_commit_causes_no_requests(hub: Hub, tmp_path: Path) -> None:
    install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    requests = len(hub.requests)
    assert not install(model_source(REPOSITORY, COMMIT), str(tmp_path)).fetched
    assert len(hub.requests) == requests


def test_an_interrupted_fetch_resumes_with_the_complete_files(hub: Hub, tmp_path: Path) -> None:
    hub.corrupted = {"model.safetensors"}
    with pytest.raises(VicurError):
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    hub.corrupted, hub.requests = set(), []
    assert install(model_source(REPOSITORY, COMMIT), str(tmp_path)).fetched
    fetched = [path.rpartition("/")[2] for path in hub.requests if path.startswith("GET") and "/resolve/" in path]
    assert fetched == ["model.safetensors"]
    assert check(tmp_path / "tiny-model")


def test_a_broken_connection_is_retried(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.broken = {"model.safetensors"}
    assert install(model_source(REPOSITORY, COMMIT), str(tmp_path)).fetched
    assert check(tmp_path / "tiny-model")


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.busy = 2
    assert install(model_source(REPOSITORY, COMMIT), str(tmp_path)).fetched
    hub.busy = 10**6
    with pytest.raises(VicurError, match="503") as caught:
        install(model_source(REPOSITORY, COMMIT), str(tmp_path / "other"))
    assert caught.value.retryable


def test_a_disk_that_fills_up_leaves_nothing_that_looks_complete(hub: Hub, tmp_path: Path) -> None:
    hub.files["model.safetensors"] += bytes(1 << 20)
    with full_disk(1 << 16), pytest.raises(VicurError, match="cannot be written"):
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert not (tmp_path / "tiny-model").exists()


def test_files_of_another_commit_in_the_staging_folder_are_removed(hub: Hub, tmp_path: Path) -> None:
    left = tmp_path / ".tiny-model.staging" / "files" / "model-00001-of-00002.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"old")
    install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert hub.requests
    assert names_below(tmp_path / "tiny-model") == STAGED
    assert not (tmp_path / ".tiny-model.staging").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_bytes_other_than_the_published_ones_are_rejected(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.corrupted = {name}
    with pytest.raises(VicurError, match="sent other bytes than it lists") as caught:
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert caught.value.retryable
    assert name in str(caught.value)
    assert not (tmp_path / "tiny-model").exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_revision_must_be_a_full_commit_hash(revision: str | None) -> None:
    with pytest.raises(VicurError, match="40 hex digits"):
        model_source(REPOSITORY, revision)


def test_a_gated_model_needs_a_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.credential = "hf_test"
    with pytest.raises(
        VicurError, match=rf"is gated.*terms on {hub.address}/{REPOSITORY}.*HF_TOKEN.*vicur-hf"
    ) as caught:
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert not caught.value.retryable
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert install(model_source(REPOSITORY, COMMIT), str(tmp_path)).fetched
    assert "hf_test" not in (tmp_path / "tiny-model" / "vicur-model.json").read_text()


@pytest.mark.usefixtures("hub")
def test_a_missing_commit_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="has no such commit"):
        install(model_source(REPOSITORY, "f" * 40), str(tmp_path))


@pytest.mark.usefixtures("hub")
def test_a_missing_repository_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="does not exist on the Hub, or this account may not see it"):
        install(model_source("lab/other", COMMIT), str(tmp_path))


def test_an_unreachable_hub_is_a_retryable_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    # The client retries five times, with pauses.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    with pytest.raises(VicurError, match="stage from S3 or a folder") as caught:
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert caught.value.retryable
    assert read_record(tmp_path / "tiny-model") is None


@pytest.mark.parametrize(
    "error",
    [OfflineModeIsEnabled("offline mode"), RuntimeError("CAS server: timed out"), XetAuthenticationError("expired")],
)
@pytest.mark.usefixtures("hub")
def test_what_the_network_did_is_not_taken_for_a_problem_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vicur.weights.hub.hf_hub_download", fail)
    with pytest.raises(VicurError, match=r"cannot be fetched \(.*HF_HUB_OFFLINE") as caught:
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert caught.value.retryable


def test_a_full_volume_is_reported_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicur.weights.hub.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(VicurError, match="must be downloaded"):
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert not [path for path in hub.requests if "/resolve/" in path]
