"""``vicur gpu-check`` runs on a CPU, so that the script itself stays alive."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calling import Command
from vicur.planning.calibration import Calibration


def test_the_check_runs_on_a_cpu_with_the_tiny_shape(project: Path, vicur: Command) -> None:
    chosen = [word for name in ("float32", "bf16", "separate", "measure") for word in ("--only", name)]
    result = vicur("gpu-check", "--device", "cpu", "--shape", "tiny", *chosen, "-o", "out")
    assert result.code == 0, result.output + result.error
    record = json.loads((project / "out/gpu-check.json").read_text())
    assert {check["name"]: check["status"] for check in record["checks"]} == {
        "float32": "not checked",
        "bf16": "passed",
        "separate": "not checked",
        "measure-tiny": "passed",
    }
    (measured,) = record["measurements"]
    assert set(measured["seconds"]) == {"rollout", "teacher", "update"}
    assert 0 < measured["mfu"] < 1
    assert Calibration.model_validate(record["calibration"]).decode_overhead_ms > 0
    assert (project / "out/gpu-check.html").read_text().startswith("<!doctype html>")
