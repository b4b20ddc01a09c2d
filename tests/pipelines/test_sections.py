"""The packages with whole sections as parameters run every step, with the settings of their parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import Project

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
RUN = """
import json, sys
from kfp import local
from vicur_pipelines.local import code_versions
from vicur_pipelines.table import PIPELINES
from tests.pipelines.local_loops import correct_loops
from vicur.config.cluster import ClusterConfig
from vicur.steps.sections import example_configs

correct_loops()
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="outputs", raise_on_error=True)
config = example_configs()[sys.argv[1] == "ablation"]
config = config.model_copy(update={"cluster": ClusterConfig(gpu_count=0, look=False, retries=0)})
pipeline = PIPELINES[sys.argv[1]].package(code_versions(), config)
defaults = {name: field.default for name, field in pipeline.component_spec.inputs.items()}
pipeline(**{**defaults, **json.loads(sys.argv[2])})
"""
ARMS = [
    {"name": "a", "about": "one", "method": "opsd", "training": {"steps": 3}},
    {"name": "b", "about": "other", "method": "vicur"},
]


def run(project: Project, pipeline: str, **parameters: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, pipeline, json.dumps({"base": {"path": "base"}, **parameters})],
        cwd=project.folder,
        env={
            **project.environment(),
            "PYTHONPATH": os.pathsep.join([project.environment()["PYTHONPATH"], str(ROOT)]),
            "VICUR_RUN_ID": "sections",
            "VICUR_SCRATCH": str(project.folder / "scratch"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def settings_of(project: Project, output: str) -> list[dict[str, Any]]:
    """What the fake stages of a step were called with."""
    return [json.loads(file.read_text()) for file in sorted(project.folder.glob(f"outputs/**/{output}/call.json"))]


def test_a_distillation_runs_all_its_steps_with_its_sections(project: Project) -> None:
    training = {"steps": 7, "per_method": {"opsd": {"steps": 9}}}
    run(project, "distill", methods=["opsd", "vicur"], seed=3, training=training, registry={"model": "mine"})
    cells = {f"{step}-{method}" for step in ("train", "evaluate") for method in ("opsd", "vicur")}
    assert set(project.calls()) == {"prepare", "extract", "base", "evaluate-base", *cells, "compare", "register"}
    students = {each["config"]["method"]: each for each in settings_of(project, "student")}
    assert {name: each["config"]["steps"] for name, each in students.items()} == {"opsd": 9, "vicur": 7}
    assert {each["seed"] for each in students.values()} == {3}
    assert [each["config"]["model"] for each in settings_of(project, "registration")] == ["mine"]
    assert project.outcomes() == ["sections FINISHED"]


def test_an_ablation_runs_all_its_cells_with_their_seeds_and_settings(project: Project) -> None:
    run(project, "ablation", analysis={"arms": ARMS}, seeds=[4], training={"steps": 7})
    cells = {f"{step}-{arm}.4" for step in ("train", "evaluate") for arm in "ab"}
    assert set(project.calls()) == {"prepare", "extract", "base", "evaluate-base", *cells, "ablate"}
    students = {each["config"]["method"]: each for each in settings_of(project, "student")}
    assert {name: each["config"]["steps"] for name, each in students.items()} == {"opsd": 3, "vicur": 7}
    assert {each["seed"] for each in students.values()} == {4}
