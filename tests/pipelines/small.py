"""Settings with which the pipelines run in seconds with their real stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from vicur.config.run import RunConfig
from vicur.stage.table import PipelineStep, steps_of

SMALL: dict[str, Any] = {
    "base": {"path": "base"},
    "data": {
        "type": "digit_scenes",
        "base": {"digits_per_class": 4, "scenes": 4},
        "distill": {"digits_per_class": 10, "scenes": 12},
        "validation": {"digits_per_class": 4, "scenes": 4},
        "test": {"digits_per_class": 4, "scenes": 6},
        "ood": {"digits_per_class": 4, "scenes": 4},
    },
    # The classical reader knows too few digits to read all of them.
    "cues": {"max_ungrounded_share": 1.0, "max_leak_share": 1.0},
    "training": {
        "steps": 2,
        "batch_size": 4,
        "validate_every": 1,
        "checkpoint_every": 1,
        "validation_examples": 4,
        "rollout": {"max_new_tokens": 4},
    },
}


def environment() -> dict[str, str]:
    """This process's own, without what it says of a run and its tracking."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "VICUR_"))}


def vicur(folder: Path, *arguments: str, python: Path | str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run a command with its real stages, away from this process's own run and tracking."""
    return subprocess.run(
        [python, "-m", "vicur", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def summary(folder: Path) -> dict[str, Any]:
    """What the latest run below ``folder`` wrote of itself."""
    return dict(json.loads((folder / "runs" / "latest" / "summary.json").read_text()))


def task_names(config: RunConfig) -> dict[str, PipelineStep]:
    """The steps of a distillation by the names of their tasks in a package."""
    return {step.name.replace("_", "-"): step for step in steps_of(config)}
