"""The command of the job that installs weights, run on a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.k8s.render import pod_templates, rendered
from tests.weights.factory import STAGED, names_below, write_model


def run_job(cache: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the job's container, with its variables expanded as by a kubelet and ``cache`` as its volume."""
    manifests = rendered("jobs/stage-models")
    (source,) = [m["data"] for m in manifests if m["kind"] == "ConfigMap"]
    ((_, template),) = pod_templates(manifests).items()
    words = template["spec"]["containers"][0]["command"]
    filled = [re.sub(r"\$\((\w+)\)", lambda found: {**source, **settings}[found[1]], word) for word in words]
    command = [sys.executable, "-m", "vicur", *(str(cache) if word == "/models" else word for word in filled[1:])]
    environment = {**os.environ, "HOME": str(cache.parent), "COLUMNS": "300"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_job_installs_a_model_once(tmp_path: Path) -> None:
    source, cache = write_model(tmp_path / "tiny"), tmp_path / "models"
    first = run_job(cache, SOURCE=str(source))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("Staged")
    assert names_below(cache / "tiny") == STAGED
    assert run_job(cache, SOURCE=str(source)).stdout.startswith("Already staged and intact")


def test_unchanged_job_fails_and_says_what_to_fill_in(tmp_path: Path) -> None:
    done = run_job(tmp_path / "models")
    assert done.returncode == 2
    assert "hf://Qwen/Qwen3-VL-2B-Instruct@COMMIT" in done.stderr
    assert "40 hex digits" in done.stderr
