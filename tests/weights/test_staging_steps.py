"""The steps of a pipeline stage the models that a form names by address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.artifacts import FileArtifact
from tests.weights.factory import model_files
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub
from vicur.stage.events import read_events
from vicur.stage.table import BENCHMARK_STAGES, STAGES
from vicur.steps.preflight_step import run_preflight_step
from vicur.steps.stage_step import run_step
from vicur.tracking.tracker import Tracker

VERSIONS = dict.fromkeys(STAGES.keys() - set(BENCHMARK_STAGES), "")
PRESET: dict[str, Any] = {"methods": ["vicur"], "cluster": {"look": False}}
HUB_ADDRESS = f"hf://{REPOSITORY}@{COMMIT}"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("vicur.stage.session.open_tracker", lambda *_: Tracker())
    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("VICUR_EVENTS", str(tmp_path / "events.jsonl"))
    monkeypatch.delenv("VICUR_LOGS", raising=False)
    monkeypatch.delenv("VICUR_CACHE", raising=False)


def preflight(folder: Path, **form: Any) -> dict[str, Any]:
    """Run preflight, and return the parameters of the later steps."""
    names = ("base_step", "cells")
    files = {name: str(folder / "parameters" / name) for name in names}
    run_preflight_step(PRESET, VERSIONS, {**form, **files}, str(folder / "checked"))
    return {name: json.loads((folder / "parameters" / name).read_text()) for name in names}


def base(folder: Path, step: dict[str, Any]) -> Path:
    output = FileArtifact(str(folder / "base"))
    run_step("base", step, {}, output)
    return Path(output.path)


def keys(parameters: dict[str, Any]) -> list[str]:
    return [parameters["base_step"]["cache_key"], *(cell["train"]["cache_key"] for cell in parameters["cells"])]


def test_a_run_stages_base_and_teacher_from_the_addresses_of_its_form(
    hub: Hub, bucket: Any, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in model_files(1).items():
        bucket.put_object(Key=f"teacher/{name}", Body=content)
    hub.credential = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    form = {"model_student": HUB_ADDRESS, "model_teacher": "s3://models/teacher"}
    first = preflight(tmp_path, **form)
    # The teacher is staged before any GPU is requested, and the base by the step that reads it.
    assert [path.name.partition("@")[0] for path in volume.iterdir() if path.is_dir()] == ["teacher"]
    assert first["base_step"]["config"] == {"path": HUB_ADDRESS}
    teacher = first["cells"][0]["train"]["config"]["teacher"]["path"]
    assert teacher.startswith("s3://models/teacher@sha256:")
    output = base(tmp_path, first["base_step"])
    assert (output / "model.safetensors").read_bytes() == model_files(0)["model.safetensors"]
    staged = volume / f"tiny-model@{COMMIT}" / "model.safetensors"
    assert not (output / "model.safetensors").samefile(staged)
    # Whether models are staged already does not change the keys.
    requests = len(hub.requests)
    second = preflight(tmp_path, **form)
    base(tmp_path, second["base_step"])
    assert second == first
    assert len(hub.requests) == requests
    written = "".join(
        path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".safetensors"
    )
    assert "hf_secret" not in written


def test_the_training_reads_the_teacher_that_was_staged(
    hub: Hub, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = preflight(tmp_path, model_teacher=HUB_ADDRESS)
    read: dict[str, Path] = {}

    def execute(_: object, __: object, inputs: dict[str, Path], *___: object, **____: object) -> Any:
        read.update(inputs)
        raise SystemExit

    monkeypatch.setattr("vicur.steps.stage_step.execute", execute)
    requests = len(hub.requests)
    cell = parameters["cells"][0]["train"]
    with pytest.raises(SystemExit):
        run_step("train", cell, {}, FileArtifact(str(tmp_path / "out")))
    assert read == {"teacher": volume / f"tiny-model@{COMMIT}"}
    assert (read["teacher"] / "model.safetensors").is_file()
    assert len(hub.requests) == requests


@pytest.mark.usefixtures("hub", "volume")
def test_a_teacher_changes_nothing_for_the_base(tmp_path: Path) -> None:
    without = preflight(tmp_path, train_methods=["vicur"])
    with_teacher = preflight(
        tmp_path, train_methods=["vicur", "opd"], overrides={"training.per_method.opd.teacher": _teacher()}
    )
    # A changed parameter of the base would train every cached student again.
    assert with_teacher["base_step"] == without["base_step"]
    assert keys(with_teacher)[:2] == keys(without)


def _teacher() -> dict[str, str]:
    return {"type": "checkpoint", "path": HUB_ADDRESS}


@pytest.mark.usefixtures("volume")
def test_changed_content_on_s3_is_another_base(bucket: Any, tmp_path: Path) -> None:
    def of(seed: int) -> list[str]:
        for name, content in model_files(seed).items():
            bucket.put_object(Key=f"base/{name}", Body=content)
        return keys(preflight(tmp_path, model_student="s3://models/base", train_methods=["vicur"]))

    before = of(0)
    assert of(0) == before
    assert not set(of(1)) & set(before)


def test_a_hub_that_fails_in_the_middle_is_reported_by_the_step_that_stages(
    hub: Hub, volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.corrupted = {"model.safetensors"}
    step = {"config": {"path": HUB_ADDRESS}}
    with pytest.raises(SystemExit):
        base(tmp_path, step)
    assert "sent other bytes than it lists for model.safetensors" in capsys.readouterr().err
    assert read_events(tmp_path / "events.jsonl")[0][-1].retryable
    assert not list(volume.glob("tiny-model@*"))
    # The next attempt fetches what is missing.
    hub.corrupted, hub.requests = set(), []
    base(tmp_path, step)
    assert [path for path in hub.requests if path.startswith("GET") and "/resolve/" in path] == [
        f"GET /{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    ]


def test_without_a_volume_the_teacher_is_left_to_the_training(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VICUR_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    preflight(tmp_path, model_teacher=HUB_ADDRESS)
    assert hub.requests == []
    assert not (tmp_path / "cache").exists()
