"""Fetching from a double of the Hub with the real huggingface_hub client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weights.factory import STAGED, model_files, names_below
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub, serving
from vicur.errors import VicurError
from vicur.weights import check, install, model_source
from vicur.weights.record import read_record


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(Hub(model_files())) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


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
    with pytest.raises(VicurError, match=r"is gated.*HF_TOKEN.*vicur-hf"):
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
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


def test_a_full_volume_is_reported_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicur.weights.hub.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(VicurError, match="must be downloaded"):
        install(model_source(REPOSITORY, COMMIT), str(tmp_path))
    assert not [path for path in hub.requests if "/resolve/" in path]
