"""Weights from the Hub, or rather from a stand-in for it (``hub_double``), with the real client of huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weights.factory import STAGED, model_files, names_below
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub, serving
from vicur.errors import VicurError
from vicur.weights import check, source_of, stage
from vicur.weights.record import read_record


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(Hub(model_files())) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def test_a_commit_is_staged_without_what_can_run_code(hub: Hub, tmp_path: Path) -> None:
    staged = stage(source_of(REPOSITORY, COMMIT), str(tmp_path / "cache"))
    assert staged.place == str(tmp_path / "cache" / "tiny-model")
    assert names_below(tmp_path / "cache" / "tiny-model") == STAGED
    record = check(tmp_path / "cache" / "tiny-model")
    assert (record.origin, record.revision) == (REPOSITORY, COMMIT)
    assert not [path for path in hub.asked if path.endswith((".bin", ".py"))]


def test_a_commit_that_is_there_is_not_asked_for(hub: Hub, tmp_path: Path) -> None:
    stage(source_of(REPOSITORY, COMMIT), str(tmp_path))
    asked = len(hub.asked)
    assert not stage(source_of(REPOSITORY, COMMIT), str(tmp_path)).fetched
    assert len(hub.asked) == asked


def test_an_interrupted_fetch_goes_on_with_the_files_that_are_whole(hub: Hub, tmp_path: Path) -> None:
    hub.spoilt = {"model.safetensors"}
    with pytest.raises(VicurError):
        stage(source_of(REPOSITORY, COMMIT), str(tmp_path))
    hub.spoilt, hub.asked = set(), []
    assert stage(source_of(REPOSITORY, COMMIT), str(tmp_path)).fetched
    fetched = [path.rpartition("/")[2] for path in hub.asked if path.startswith("GET") and "/resolve/" in path]
    assert fetched == ["model.safetensors"]
    assert check(tmp_path / "tiny-model")


def test_a_connection_that_breaks_off_is_survived(hub: Hub, tmp_path: Path) -> None:
    hub.broken = {"model.safetensors"}
    assert stage(source_of(REPOSITORY, COMMIT), str(tmp_path)).fetched
    assert check(tmp_path / "tiny-model")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_bytes_other_than_the_published_ones_are_not_taken(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.spoilt = {name}
    with pytest.raises(VicurError, match="has not sent the bytes that it lists") as caught:
        stage(source_of(REPOSITORY, COMMIT), str(tmp_path))
    assert caught.value.retryable
    assert name in str(caught.value)
    assert not (tmp_path / "tiny-model").exists()


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_only_a_commit_says_which_bytes_are_meant(revision: str | None) -> None:
    with pytest.raises(VicurError, match="40 hex digits"):
        source_of(REPOSITORY, revision)


def test_a_model_with_terms_needs_a_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.asks_for = "hf_test"
    with pytest.raises(VicurError, match=r"accepted its terms.*HF_TOKEN.*vicur-hf"):
        stage(source_of(REPOSITORY, COMMIT), str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert stage(source_of(REPOSITORY, COMMIT), str(tmp_path)).fetched
    assert "hf_test" not in (tmp_path / "tiny-model" / "vicur-model.json").read_text()


@pytest.mark.usefixtures("hub")
def test_a_commit_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="has no such commit"):
        stage(source_of(REPOSITORY, "f" * 40), str(tmp_path))


@pytest.mark.usefixtures("hub")
def test_a_repository_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="not on the Hub, or not for this account"):
        stage(source_of("lab/other", COMMIT), str(tmp_path))


def test_a_hub_that_does_not_answer_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    # Its client tries five times, and waits between.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    with pytest.raises(VicurError, match="stage from S3 or a folder") as caught:
        stage(source_of(REPOSITORY, COMMIT), str(tmp_path))
    assert caught.value.retryable
    assert read_record(tmp_path / "tiny-model") is None


def test_a_volume_without_room_is_told_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicur.weights.hub.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(VicurError, match="has no room"):
        stage(source_of(REPOSITORY, COMMIT), str(tmp_path))
    assert not [path for path in hub.asked if "/resolve/" in path]
