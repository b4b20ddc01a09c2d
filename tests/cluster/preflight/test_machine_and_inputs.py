"""Checks of the machine and of the inputs of a run: disk, packages, container engine, models and dataset."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from tests.tracking.server import free_port
from tests.weights.factory import model_files
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub, serving
from vicur.cluster.preflight.check import Finding
from vicur.cluster.preflight.checks.dataset import dataset
from vicur.cluster.preflight.checks.machine import container_engine, disk, packages
from vicur.cluster.preflight.checks.model import model, room
from vicur.cluster.preflight.checks.questions import questions
from vicur.cluster.preflight.needs import needs_of
from vicur.cluster.preflight.registry import laptop_checks
from vicur.cluster.preflight.runner import run_checks
from vicur.config.base import model_folder
from vicur.config.data import DigitScenesConfig, FolderConfig, HubConfig, ImportConfig, PinnedConfig, RemoteConfig
from vicur.config.model_address import ModelAddress, model_address
from vicur.config.preflight import PreflightConfig
from vicur.config.reader import ReaderConfig
from vicur.config.run import RunConfig
from vicur.config.tracking import TrackingConfig
from vicur.data.sources import RemoteSource
from vicur.weights import staged
from vicur.weights.record import is_model_file

# --- the machine ---


def test_disk_of_a_future_folder_is_measured(tmp_path: Path) -> None:
    assert disk(str(tmp_path / "not" / "yet"), 0).status == "ok"
    finding = disk(str(tmp_path), 10**9)
    assert finding.status == "failed"
    assert "1e+09 GiB are required" in finding.message


def test_missing_package_is_reported_with_its_extra() -> None:
    assert packages(("pydantic", "kfp"), "local").status == "ok"
    finding = packages(("pydantic", "no-such-thing"), "pipeline")
    assert (finding.status, finding.message) == ("failed", "not installed: no-such-thing")
    assert finding.remedy == "Install 'vicur[pipeline]'."


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("echo '27.1 Engine containerd '", "ok", "Docker Engine 27.1"),
        ("echo '4.3.1 Podman Engine '", "warning", "Podman's (4.3.1)"),
        ("echo 'permission denied' >&2; exit 1", "warning", "no Docker Engine responds (permission denied)"),
        (None, "warning", "no docker command"),
    ],
)
def test_docker_is_distinguished_from_podman_and_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, status: str, words: str
) -> None:
    if script is not None:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = container_engine()
    assert (finding.status, words in finding.message) == (status, True)


# --- models ---


def test_shipped_model_and_model_in_a_folder_are_found(tmp_path: Path) -> None:
    assert model("tiny").status == "ok"
    shutil.copytree(model_folder("tiny"), tmp_path / "copy")
    assert "weights in 1 file" in model(str(tmp_path / "copy")).message
    (tmp_path / "copy" / "model.safetensors").unlink()
    finding = model(str(tmp_path / "copy"))
    assert (finding.status, "*.safetensors missing" in finding.message) == ("failed", True)
    finding = model("/models/Qwen3-VL-2B-Instruct")
    assert (finding.status, "/models (vicur-models)" in finding.remedy) == ("failed", True)
    assert model("/models/\0").status == "failed"


def test_model_on_s3_is_found(s3) -> None:
    assert checked("s3://runs/base").message == "s3://runs/base: is empty."
    s3.put_object(Bucket="runs", Key="base/README.md", Body=b"")
    assert "config.json and *.safetensors missing" in checked("s3://runs/base").message
    for name in ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        s3.put_object(Bucket="runs", Key=f"base/{name}", Body=b"")
    s3.put_object(Bucket="runs", Key="base-other/config.json", Body=b"")
    assert checked("s3://runs/base/").message == "s3://runs/base, weights in 2 files; 0.0 GiB will be staged once"
    assert checked("s3://nowhere/base").status == "failed"


def test_model_on_a_store_that_only_steps_know_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setattr(
        "vicur.cluster.preflight.elsewhere.variable_of_steps", lambda *_: "http://seaweedfs.kubeflow:8333"
    )
    needs = PreflightConfig.model_validate({"models": ["s3://models/base"], "buckets": ["s3://runs/a"]})
    found = {
        each.name: each.run() for each in laptop_checks(needs, TrackingConfig(), cluster=True) if "s3://" in each.name
    }
    assert {name: finding.status for name, finding in found.items()} == {
        "model s3://models/base": "warning",
        "bucket s3://runs/a": "warning",
    }
    assert all(
        "steps reach the store at http://seaweedfs.kubeflow:8333" in finding.message for finding in found.values()
    )


HUB_ADDRESS = f"hf://{REPOSITORY}@{COMMIT}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("VICUR_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(Hub(model_files())) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        (HUB_ADDRESS, "ok", "weights in 1 file; 0.0 GiB will be staged once"),
        (f"hf://{REPOSITORY}@main", "failed", f"vicur models pin hf://{REPOSITORY}@main"),
        (f"hf://{REPOSITORY}", "failed", "names no commit"),
        (f"hf://{REPOSITORY}@{'f' * 40}", "failed", "has no such commit"),
        (f"hf://lab/nothing@{COMMIT}", "failed", "does not exist on the Hub, or this account may not see it"),
        ("hf://nothing", "failed", "write hf://owner/name@COMMIT"),
    ],
)
def test_model_on_the_hub_is_found_or_the_reason_is_reported(address: str, status: str, words: str) -> None:
    finding = checked(address)
    assert (finding.status, words in f"{finding.message} {finding.remedy}") == (status, True), finding


def checked(address: str) -> Finding:
    """Return the finding about a model as the report shows it."""
    needs = PreflightConfig.model_validate({"models": [address]})
    (result,) = [
        each for each in run_checks(laptop_checks(needs, TrackingConfig()), 10) if each.check.name == f"model {address}"
    ]
    return result.finding


@pytest.mark.parametrize(
    ("token", "status"), [(None, "failed"), ("hub-token", "ok"), ("hub-token\n", "ok"), ("hub-token\nx", "failed")]
)
def test_a_gated_model_needs_a_token_that_is_not_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str | None, status: str
) -> None:
    hub.credential = "hub-token"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    finding = checked(HUB_ADDRESS)
    assert finding.status == status
    assert "hub-token" not in f"{finding.message} {finding.remedy}"
    assert ("HF_TOKEN" in finding.remedy) == (status == "failed")


def test_a_model_of_pickles_is_not_complete(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    assert "*.safetensors missing" in checked(HUB_ADDRESS).message


def test_unreachable_hub_is_reported_with_alternatives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VICUR_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    finding = checked(HUB_ADDRESS)
    assert finding.status == "failed"
    assert "network policy may forbid the Hub to pods" in finding.remedy
    assert "stage from S3 or a folder" in finding.remedy


def test_a_staged_model_is_found_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    staged(HUB_ADDRESS)
    hub.files.clear()
    assert checked(HUB_ADDRESS).message == f"{HUB_ADDRESS}, staged in {tmp_path / 'models' / f'tiny-model@{COMMIT}'}"


def test_models_must_fit_the_volume_together(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(len(content) for name, content in hub.files.items() if is_model_file(name))
    address = model_address(HUB_ADDRESS)
    assert isinstance(address, ModelAddress)
    usage = type("Usage", (), {"free": 2 * size - 1})
    monkeypatch.setattr("vicur.cluster.preflight.checks.model.shutil.disk_usage", lambda _: usage)
    assert room([address]).status == "ok"
    finding = room([address, address])
    assert (finding.status, "Enlarge the volume" in finding.remedy) == ("failed", True)
    assert str(tmp_path / "models") in finding.message


def test_a_volume_that_cannot_be_written_is_reported(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicur.cluster.preflight.checks.model.os.access", lambda *_: False)
    finding = room([])
    assert (finding.status, "stage-models" in finding.remedy) == ("failed", True)
    assert str(tmp_path) in finding.message
    assert hub.requests == []


# --- the dataset ---


def test_dataset_in_a_folder_requires_data_files(tmp_path: Path) -> None:
    assert dataset(DigitScenesConfig()).status == "ok"
    finding = dataset(FolderConfig(path=tmp_path / "none"))
    assert (finding.status, "by hash or address" in finding.remedy) == ("failed", True)
    assert "has no data files" in dataset(FolderConfig(path=tmp_path)).message
    (tmp_path / "examples.jsonl").touch()
    assert dataset(FolderConfig(path=tmp_path)).status == "ok"


def test_dataset_on_s3_is_not_mistaken_for_a_sibling(s3) -> None:
    s3.put_object(Bucket="runs", Key="questions-old/examples.jsonl", Body=b"")
    finding = dataset(RemoteConfig(uri="s3://runs/questions"))
    assert (finding.status, finding.message) == ("failed", "s3://runs/questions: is empty.")
    s3.put_object(Bucket="runs", Key="questions/examples.jsonl", Body=b"")
    assert dataset(RemoteConfig(uri="s3://runs/questions/")).status == "ok"
    assert dataset(RemoteConfig(uri="s3://nowhere/x")).status == "failed"


def test_pinned_dataset_must_be_in_its_remote(s3) -> None:
    listing = b"[]"
    md5 = hashlib.md5(listing, usedforsecurity=False).hexdigest()
    pinned = PinnedConfig(hash=f"{md5}.dir", remote="s3://runs/dvc")
    assert "no folder with the hash" in dataset(pinned).message
    s3.put_object(Bucket="runs", Key=f"dvc/files/md5/{md5[:2]}/{md5[2:]}.dir", Body=listing)
    assert dataset(pinned).message == f"{md5}.dir at s3://runs/dvc, 0 files"


# --- questions ---


def test_questions_that_the_base_cannot_read_are_found_before_a_run(tmp_path: Path) -> None:
    rows = [
        {"id": f"r{n}", "question": text, "answer": "12", "images": ["a.png"], "split": "distill"}
        for n, text in enumerate(["What is the sum?", "Is the trapezoid larger?", "What is the sum? " * 100])
    ]
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")

    def checked(chosen: list[dict[str, Any]], **reader: Any) -> Finding:
        lines = "".join(json.dumps(row) + "\n" for row in chosen)
        (tmp_path / "examples.jsonl").write_text(lines)
        return questions(
            FolderConfig(path=tmp_path), ReaderConfig(**{"path": "tiny", "privileges": ("answer",), **reader})
        )

    assert checked(rows[:1]) == Finding("ok", f"tiny can read the first 1 rows of {tmp_path}")
    unspelled = checked(rows[1:2])
    assert unspelled.status == "failed"
    assert re.search(r"cannot spell \d+\.\d % of the characters of the questions.*'trapezoid'", unspelled.message)
    long = checked([rows[0], rows[2]])
    assert re.search(r"1 of 2 prompts are longer than 256 tokens \(r2 has \d+\)", long.message)
    assert "50.0 % are too long" in checked([rows[0], rows[2]], max_share=0.5).message
    pixels = checked(rows[:1], prompts={"pixels": {"teacher": {"min": 100_000}}})
    assert "1 of 1 prompts are longer than 256 tokens" in pixels.message
    elsewhere = checked(rows[1:2], path="hf://owner/name@" + "0" * 40)
    assert elsewhere.status == "ok"
    assert "checked once" in elsewhere.message


UNSPELLED = b'{"id": "r", "question": "Is the trapezoid larger?", "answer": "12", "split": "distill"}\n'
READER = ReaderConfig(path="tiny", privileges=("answer",))


@pytest.fixture(params=["remote", "pinned", "pinned folder", "hub"])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[ImportConfig]:
    """A dataset of one question that is not on this machine."""
    if request.param == "hub":
        monkeypatch = request.getfixturevalue("monkeypatch")
        with serving(Hub({"examples.jsonl": UNSPELLED}, kind="datasets")) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            monkeypatch.delenv("HF_TOKEN", raising=False)
            yield HubConfig(repository=REPOSITORY, revision=COMMIT)
        return
    md5 = hashlib.md5(UNSPELLED, usedforsecurity=False).hexdigest()
    listing = json.dumps([{"md5": md5, "relpath": "examples.jsonl"}]).encode()
    own = hashlib.md5(listing, usedforsecurity=False).hexdigest()
    objects = {f"files/md5/{name[:2]}/{name[2:]}": body for name, body in ((md5, UNSPELLED), (f"{own}.dir", listing))}
    if request.param == "pinned folder":
        folder = request.getfixturevalue("tmp_path")
        for key, body in objects.items():
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(body)
        yield PinnedConfig(hash=f"{own}.dir", remote=str(folder))
        return
    s3 = request.getfixturevalue("s3")
    if request.param == "remote":
        s3.put_object(Bucket="runs", Key="questions/examples.jsonl", Body=UNSPELLED)
        yield RemoteConfig(uri="s3://runs/questions")
        return
    for key, body in objects.items():
        s3.put_object(Bucket="runs", Key=f"dvc/{key}", Body=body)
    yield PinnedConfig(hash=f"{own}.dir", remote="s3://runs/dvc")


def test_questions_at_an_address_are_read_by_their_first_rows(elsewhere: ImportConfig) -> None:
    finding = questions(elsewhere, READER)
    assert (finding.status, "cannot spell" in finding.message, "'trapezoid'" in finding.message) == (
        "failed",
        True,
        True,
    )


def test_rows_that_cannot_be_fetched_are_a_warning(s3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put_object(Bucket="runs", Key="questions/examples.jsonl", Body=UNSPELLED)
    gone = questions(RemoteConfig(uri="s3://runs/nothing"), READER)
    assert (gone.status, "first rows cannot be read" in gone.message) == ("warning", True)
    released = Event()
    monkeypatch.setattr(RemoteSource, "excerpt", lambda *_: released.wait(20))
    slow = questions(RemoteConfig(uri="s3://runs/questions"), READER, seconds=0.1)
    released.set()
    assert (slow.status, "not read within 0.1 s" in slow.message) == ("warning", True)


def test_a_runs_configuration_leads_to_the_check_of_its_questions(tmp_path: Path) -> None:
    (tmp_path / "examples.jsonl").write_text(
        '{"id": "r", "question": "Where is the trapezoid?", "answer": "here", "split": "distill"}'
    )
    config = RunConfig.model_validate({"data": {"type": "folder", "path": str(tmp_path)}})
    (result,) = run_checks([c for c in laptop_checks(needs_of(config), TrackingConfig()) if c.name == "questions"], 60)
    assert result.finding.status == "failed"
    assert "cannot spell" in result.finding.message
