"""The package for pools of GPUs gives the results of a local run, and starts nothing if its form is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.small import SMALL, environment, summary, vicur

REPO = Path(__file__).parents[2]

RUN = """
import json, sys
from kfp import local
from vicur_pipelines.cluster import cluster_pipeline
from vicur_pipelines.local import code_versions
from vicur.config.run import RunConfig
from tests.pipelines.local_loops import correct_loops

correct_loops()
preset, form = json.loads(sys.argv[1]), json.loads(sys.argv[2])
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="outputs", raise_on_error=True)
pipeline = cluster_pipeline(code_versions(), RunConfig.model_validate(preset))
defaults = {name: field.default for name, field in pipeline.component_spec.inputs.items()}
pipeline(**{**defaults, **form})
"""


def run_in_pools(folder: Path, **form: Any) -> subprocess.CompletedProcess[str]:
    """Run the package for pools through kfp.local, which ignores what only a cluster has."""
    preset = {
        **SMALL,
        "base": {"path": "tiny"},
        "methods": ["opsd", "vicur"],
        "cluster": {"gpu_count": 0, "look": False, "retries": 0},
    }
    return subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(preset), json.dumps(form)],
        cwd=folder,
        env={
            **environment(),
            "PYTHONPATH": str(REPO),
            "VICUR_RUN_ID": "pools",
            "VICUR_CACHE": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )


def comparison(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("comparison.json")
    return dict(json.loads(file.read_text()))


@pytest.mark.slow
def test_it_computes_the_same_as_a_local_run(tmp_path: Path) -> None:
    pools, local = tmp_path / "pools", tmp_path / "local"
    pools.mkdir()
    local.mkdir()
    made = run_in_pools(pools, train_methods=["vicur"], overrides={"training.steps": 3}, seed=1)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    settings = json.dumps({**SMALL, "base": {"path": "tiny"}, "methods": ["vicur"], "seed": 1})
    (local / "config.yaml").write_text(settings)
    assert vicur(local, "run", "config.yaml", "--set", "training.steps=3").returncode == 0
    assert summary(local)["status"] == "succeeded"
    assert comparison(pools / "outputs") == comparison(local / "runs" / "latest")


def test_a_wrong_form_fails_in_preflight_and_starts_nothing(tmp_path: Path) -> None:
    made = run_in_pools(tmp_path, overrides={"training.stepz": 3})
    assert made.returncode != 0
    assert "there is no setting 'training.stepz'" in made.stdout + made.stderr
    (run,) = (tmp_path / "outputs").iterdir()
    assert {step.name for step in run.iterdir()} <= {"preflight", "outcome"}
