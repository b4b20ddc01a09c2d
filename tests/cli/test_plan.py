"""The exit status of ``vicur plan`` reports whether the run fits."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calling import Command

CONFIG = str(Path(__file__).parents[2] / "configs/qwen3-vl-8b.yaml")


def test_a_run_that_fits_exits_with_0(vicur: Command) -> None:
    result = vicur("plan", "--gpu-memory", "8")
    assert result.code == 0, result.error
    assert "The run fits." in result.output


def test_a_run_that_does_not_fit_exits_with_3_and_suggests_settings_that_fit(project: Path, vicur: Command) -> None:
    whole = ["--set", "training.distribution.strategy=ddp"]
    result = vicur("plan", "--config", CONFIG, "--gpus", "8", "--gpu-memory", "80", *whole, "--json", "plan.json")
    assert result.code == 3
    assert "The run does not fit." in result.output
    record = json.loads((project / "plan.json").read_text())
    assert record["fits"] is False
    # The suggested settings are valid arguments of the command.
    options = [word for change in record["way_to_fit"] for word in change.split()]
    again = vicur("plan", "--config", CONFIG, "--gpus", "8", "--gpu-memory", "80", *options)
    assert again.code == 0
    assert "The run fits." in again.output


def test_invalid_input_exits_with_2_and_names_the_option(vicur: Command) -> None:
    unknown = vicur("plan", "--assume", "microbatch=1")
    assert (unknown.code, "microbatch" in unknown.error) == (2, True)
    method = vicur("plan", "--method", "grpoo")
    assert (method.code, "--method" in method.error) == (2, True)
    model = vicur("plan", "--set", "base.path=/models/mine")
    assert (model.code, "/models/mine" in model.error) == (2, True)


def test_assumptions_about_the_hardware_can_be_set(project: Path, vicur: Command) -> None:
    assumed = ["--assume", "hardware.utilisation=0.2", "--assume", "hardware.headroom=0.5"]
    result = vicur("plan", *assumed, "--json", "plan.json")
    assert result.code == 0
    record = json.loads((project / "plan.json").read_text())
    assert record["limit_bytes"] == 40 * 2**30
    assert record["input"]["hardware"]["utilisation"] == 0.2


def test_times_come_from_the_speeds_of_a_gpu_check(project: Path, vicur: Command) -> None:
    speeds = {"device": "NVIDIA H100", "peak_tflops": 989.0, "utilisation": 0.3, "decode_overhead_ms": 30.0}
    (project / "gpu-check.json").write_text(json.dumps({"calibration": speeds}))
    result = vicur("plan", "--calibration", "gpu-check.json")
    assert "GPU-hours" in result.output
    assert "measured on NVIDIA H100" in " ".join(result.output.split())
    (project / "other.json").write_text(json.dumps({"calibration": None}))
    for name, words in (("other.json", "has no measured speeds"), ("absent.json", "cannot be read")):
        wrong = vicur("plan", "--calibration", name)
        assert (wrong.code, words in wrong.error, "--calibration" in wrong.error) == (2, True, True)
