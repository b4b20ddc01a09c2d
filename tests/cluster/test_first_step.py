"""The first step tells what is wrong with a run before anything is started, by the settings alone."""

from __future__ import annotations

from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vicur.config.run import RunConfig
from vicur.steps.preflight_step import first_step

PRESET: dict[str, Any] = RunConfig(
    methods=("vicur",), checkpoints="s3://bucket/runs", cluster={"look": False}
).model_dump(mode="json", exclude_none=True)


def said_by(folder: Path, capsys: pytest.CaptureFixture[str], **form: Any) -> str:
    """What the step says where it ends the run."""
    with pytest.raises(SystemExit) as ended:
        first_step(PRESET, defaultdict(str), form, {"training": str(folder / "training")}, str(folder / "checked"))
    assert ended.value.code == 2
    assert not (folder / "training").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"gpu_count": 5}, "a batch of 32 prompts cannot be shared equally by 5 processes"),
        ({"gpu_count": 2, "nodes": 3}, "cannot be shared equally by 6 processes"),
        ({"overrides": {"training.distribution.processes": 4}}, "4 processes need 4 GPUs, and each machine has 1"),
        ({"nodes": 2, "overrides": {"training.rollout.engine": "vllm"}}, "2 processes would each have a vLLM inside"),
        ({"nodes": 2, "overrides": {"checkpoints": ""}}, "several nodes need a place that all of them reach"),
    ],
)
def test_what_a_training_would_refuse_hours_later_is_refused_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: dict[str, Any], says: str
) -> None:
    assert says in said_by(tmp_path, capsys, **form)


def test_a_teacher_has_no_gpu_of_its_own_in_a_package_without_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESET, "cluster", {**PRESET["cluster"], "gpu_count": 0})
    told = said_by(tmp_path, capsys, overrides={"training.distribution.teacher_devices": "separate"})
    assert "a teacher has GPUs of its own only where there are GPUs" in told


@pytest.mark.skipif(find_spec("vicur_vllm") is not None, reason="the plugin is here")
def test_an_image_without_the_vllm_that_a_training_has_inside_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said_by(tmp_path, capsys, overrides={"training.rollout.engine": "vllm"})
    assert "training.rollout.engine, method vicur: vLLM is asked for" in told
    assert "take an image that has them" in told


def test_it_looks_at_the_namespace_that_it_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("vicur.steps.preflight_step.in_cluster", lambda: True)
    monkeypatch.setattr("vicur.steps.preflight_step.own_namespace", lambda: "team-a")
    monkeypatch.setattr(
        "vicur.steps.preflight_step.run_preflight", lambda needs, _: looked.append(needs.namespace) or ""
    )
    first_step(PRESET, defaultdict(str), {"overrides": {"cluster.look": True}}, {}, str(tmp_path / "checked"))
    assert looked == ["team-a"]


def test_a_pod_without_its_accounts_token_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vicur.steps.preflight_step.in_cluster", lambda: True)
    monkeypatch.setattr("vicur.cluster.pods._NAMESPACE", tmp_path / "none")
    assert "the pod's namespace cannot be read" in said_by(tmp_path, capsys, overrides={"cluster.look": True})


def test_what_can_be_trained_is_passed_on(tmp_path: Path) -> None:
    form = {"gpu_count": 8, "nodes": 2}
    first_step(PRESET, defaultdict(str), form, {"step_gpus": str(tmp_path / "gpus")}, str(tmp_path / "checked"))
    assert (tmp_path / "gpus").read_text() == "0"
    assert "2 nodes with 8 nvidia.com/gpu each" in (tmp_path / "checked").read_text()
