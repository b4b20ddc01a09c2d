"""Checks of the machine and of the inputs of a run: disk, packages, container engine, models and dataset."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.cluster.preflight.doubles import COMMIT, hub_double, serving
from tests.tracking.server import free_port
from vicur.cluster.preflight.checks.dataset import dataset
from vicur.cluster.preflight.checks.machine import container_engine, disk, packages
from vicur.cluster.preflight.checks.model import model
from vicur.config.base import model_folder
from vicur.config.data import DigitScenesConfig, FolderConfig, PinnedConfig, RemoteConfig

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
    assert "config.json and *.safetensors missing" in model("s3://runs/base").message
    for name in ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        s3.put_object(Bucket="runs", Key=f"base/{name}", Body=b"")
    s3.put_object(Bucket="runs", Key="base-other/config.json", Body=b"")
    assert model("s3://runs/base/").message == "s3://runs/base/, weights in 2 files"
    assert model("s3://nowhere/base").status == "failed"


@pytest.mark.parametrize(
    ("address", "token", "status", "words"),
    [
        (f"hf://org/open@{COMMIT}", None, "ok", "weights in 1 file"),
        ("hf://org/open@main", None, "warning", f"hf://org/open@{COMMIT}"),
        ("hf://org/open", None, "warning", "its latest revision may change"),
        ("hf://org/open@v9", None, "failed", "no revision v9"),
        (f"hf://org/gated@{COMMIT}", None, "failed", "HF_TOKEN"),
        (f"hf://org/gated@{COMMIT}", "hub-token", "ok", "weights"),
        (f"hf://org/gated@{COMMIT}", "hub-token\n", "ok", "weights"),
        (f"hf://org/gated@{COMMIT}", "hub-token\nx", "failed", "HF_TOKEN"),
        ("hf://org/pickled@main", None, "failed", "*.safetensors missing"),
        ("hf://org/nothing@main", None, "failed", "has no public model org/nothing"),
        ("hf://nothing", None, "failed", "Write it as hf://organisation/name@revision"),
    ],
)
def test_model_on_the_hub_is_found_or_the_reason_is_reported(
    monkeypatch: pytest.MonkeyPatch, address: str, token: str | None, status: str, words: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with serving(hub_double("hub-token")) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
        finding = model(address)
    assert (finding.status, words in f"{finding.message} {finding.remedy}") == (status, True), finding
    assert "hub-token" not in f"{finding.message} {finding.remedy}"


def test_unreachable_hub_is_reported_with_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free_port()}")
    finding = model(f"hf://org/open@{COMMIT}")
    assert (finding.status, "install the model on S3" in finding.remedy) == ("failed", True)


# --- the dataset ---


def test_dataset_in_a_folder_requires_an_examples_file(tmp_path: Path) -> None:
    assert dataset(DigitScenesConfig()).status == "ok"
    finding = dataset(FolderConfig(path=tmp_path / "none"))
    assert (finding.status, "by hash or address" in finding.remedy) == ("failed", True)
    assert "examples.jsonl" in dataset(FolderConfig(path=tmp_path)).message
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
