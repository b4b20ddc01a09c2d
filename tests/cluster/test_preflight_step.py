"""Preflight finds what is wrong with a run by its settings alone, before anything is started."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vicur.cluster.preflight.check import Check, Finding
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy
from vicur.stage.table import BENCHMARK_STAGES, STAGES
from vicur.steps import preflight_step, stage_step
from vicur.steps.preflight_step import run_preflight_step, run_sections_step, training_resources

VERSIONS = dict.fromkeys(STAGES.keys() - set(BENCHMARK_STAGES), "")
PRESET: dict[str, Any] = {"methods": ["vicur"], "checkpoints": "s3://bucket/runs", "cluster": {"look": False}}


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], **form: Any) -> str:
    """The message with which the step ends the run."""
    with pytest.raises(SystemExit) as ended:
        run_preflight_step(PRESET, VERSIONS, {**form, "cells": str(folder / "cells")}, str(folder / "checked"))
    assert ended.value.code == 2
    assert not (folder / "cells").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"gpu_count": 5}, "a batch of 32 prompts cannot be divided equally among 5 processes"),
        ({"gpu_count": 2, "gpu_nodes": 3}, "cannot be divided equally among 6 processes"),
        ({"overrides": {"training.distribution.processes": 4}}, "4 processes need 4 GPUs, but each machine has 1"),
        (
            {"gpu_count": 4, "overrides": {"training.rollout.engine": {"type": "vllm", "tensor_parallel": 3}}},
            "an engine of 3 processes does not fit the 4 training processes of a machine",
        ),
        (
            {"gpu_nodes": 2, "overrides": {"checkpoints": ""}},
            "a training that runs as a TrainJob needs checkpoints on S3",
        ),
        (
            {"overrides": {"checkpoints": "", "cluster.jobs.always": True}},
            "a training that runs as a TrainJob needs checkpoints on S3",
        ),
    ],
)
def test_a_training_that_would_fail_hours_later_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: dict[str, Any], says: str
) -> None:
    assert says in refusal(tmp_path, capsys, **form)


def test_a_package_without_gpus_has_none_for_a_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESET, "cluster", {**PRESET["cluster"], "gpu_count": 0})
    message = refusal(tmp_path, capsys, overrides={"training.distribution.teacher_devices": "separate"})
    assert "teacher_devices is separate, but the machine has no GPUs" in message


@pytest.mark.parametrize(("temporary", "attempts"), [(True, 4), (False, 1)])
def test_checks_are_repeated_while_only_servers_that_do_not_respond_fail(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    temporary: bool,
    attempts: int,
) -> None:
    calls: list[int] = []

    def away() -> Finding:
        calls.append(1)
        raise VicurError("MLflow does not respond.", remedy="Start it.", retryable=temporary)

    monkeypatch.setitem(PRESET, "cluster", {})
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(preflight_step, "own_namespace", lambda: "team-a")
    monkeypatch.setattr("vicur.cluster.preflight.step.step_checks", lambda *_: [Check("tracking", "cluster", away)])
    monkeypatch.setattr(stage_step, "RetryPolicy", lambda retries: RetryPolicy(retries, first=0.002))
    assert "1 failed: tracking" in refusal(tmp_path, capsys)
    assert len(calls) == attempts


@pytest.mark.skipif(find_spec("vicur_vllm") is not None, reason="the plugin is here")
def test_an_image_without_the_vllm_that_a_training_uses_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(tmp_path, capsys, overrides={"training.rollout.engine": "vllm"})
    assert "training.rollout.engine, method vicur: vLLM or its plugin is not installed here" in message
    assert "use an image that contains them" in message


def test_the_namespace_of_the_pod_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("vicur.steps.preflight_step.in_cluster", lambda: True)
    monkeypatch.setattr("vicur.steps.preflight_step.own_namespace", lambda: "team-a")
    monkeypatch.setattr(
        "vicur.steps.preflight_step.run_preflight", lambda needs, _: looked.append(needs.namespace) or ""
    )
    run_preflight_step(PRESET, VERSIONS, {"overrides": {"cluster.look": True}}, str(tmp_path / "checked"))
    assert looked == ["team-a"]


def test_a_pod_without_the_token_of_its_account_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vicur.steps.preflight_step.in_cluster", lambda: True)
    monkeypatch.setattr("vicur.cluster.pods._NAMESPACE", tmp_path / "none")
    assert "the namespace of this pod cannot be read" in refusal(tmp_path, capsys, overrides={"cluster.look": True})


def outputs(folder: Path, *names: str) -> dict[str, str]:
    return {name: str(folder / name) for name in names}


def test_later_steps_get_the_settings_of_the_form(tmp_path: Path) -> None:
    form = {"seed": 7, "train_methods": ["opsd", "vicur"], "overrides": {"training.steps": 9}, "unknown": "ignored"}
    written = outputs(tmp_path, "extract_step", "cells", "training_gpus")
    run_preflight_step(PRESET, VERSIONS, {**form, **written}, str(tmp_path / "checked"))
    step, cells = (json.loads((tmp_path / name).read_text()) for name in ("extract_step", "cells"))
    assert (step["seed"], step["checkpoints"]) == (7, "s3://bucket/runs")
    assert [(cell["train"]["config"]["method"], cell["train"]["config"]["steps"]) for cell in cells] == [
        ("opsd", 9),
        ("vicur", 9),
    ]
    assert {cell["train"]["seed"] for cell in cells} == {7}
    # A string is written as it is: KFP would pass on the quotes of JSON.
    assert (tmp_path / "training_gpus").read_text() == "1"
    assert "opsd, vicur from tiny, trained on 1 node" in (tmp_path / "checked").read_text()


TAINT = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("launching", "resources"),
    [
        ({"nodes": 1}, ("4", "16", "16", "128Gi", {"pool": "a"}, [TAINT])),
        ({"nodes": 2}, ("0", "1", "1", "2Gi", {}, [])),
        ({"nodes": 1, "jobs": {"always": True}}, ("0", "1", "1", "2Gi", {}, [])),
    ],
)
def test_a_step_that_waits_for_a_job_on_other_nodes_needs_few_resources(
    launching: dict[str, Any], resources: tuple[Any, ...]
) -> None:
    pool = {
        **launching,
        "gpu_count": 4,
        "steps": {"cpu": "1", "memory": "2Gi"},
        "gpu_steps": {"cpu": "16", "memory": "128Gi"},
        "node_selector": {"pool": "a"},
        "tolerations": [TAINT],
    }
    assert tuple(training_resources(RunConfig.model_validate({"cluster": pool})).values()) == resources


SECTIONS: dict[str, Any] = {
    "seed": 3,
    "data": {"type": "digit_scenes"},
    "training": {"steps": 9},
    "checkpoints": "",
    "cluster": {"look": False},
}
ARM = {"name": "a", "about": "one", "method": "vicur"}


def test_sections_of_a_distillation_become_parameters_of_its_steps(tmp_path: Path) -> None:
    written = outputs(tmp_path, "extract_step", "cells", "compare_step", "ablate_step")
    sections = {**SECTIONS, "methods": ["vicur"], "seeds": [], "analysis": {}, "checked": "ignored"}
    run_sections_step({**sections, **written}, VERSIONS, str(tmp_path / "checked"))
    (cell,) = json.loads((tmp_path / "cells").read_text())
    assert (cell["train"]["config"]["steps"], cell["train"]["seed"], cell["train"]["subject"]) == (9, 3, "vicur")
    assert json.loads((tmp_path / "ablate_step").read_text()) == {}


def test_sections_of_an_ablation_become_parameters_of_its_steps(tmp_path: Path) -> None:
    written = outputs(tmp_path, "cells", "register_step", "ablate_step")
    sections = {**SECTIONS, "methods": [], "seeds": [0, 1], "analysis": {"arms": [ARM], "resamples": 1000}}
    run_sections_step({**sections, **written}, VERSIONS, str(tmp_path / "checked"))
    assert [cell["train"]["subject"] for cell in json.loads((tmp_path / "cells").read_text())] == ["a.0", "a.1"]
    assert json.loads((tmp_path / "ablate_step").read_text())["config"]["resamples"] == 1000
    assert json.loads((tmp_path / "register_step").read_text()) == {}


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"training": {"stepz": 3}}, "stepz"),
        ({"methods": []}, "methods"),
        ({"analysis": {"arms": [ARM], "armz": 1}, "seeds": [0]}, "armz"),
    ],
)
def test_wrong_sections_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_sections_step({**SECTIONS, "methods": ["vicur"], **wrong}, VERSIONS, str(tmp_path / "checked"))
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "checked").exists()
