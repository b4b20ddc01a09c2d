"""Packages that divide stages into portions, executed with their real plans on small sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur_pipelines.package import write_package
from vicur_pipelines.table import PIPELINES

from tests.pipelines.kfp_execution import Executed, Execution
from tests.pipelines.preflight_outputs import preflight_outputs
from vicur.config.loading import load_settings
from vicur.data import Example
from vicur.data.dataset import DatasetWriter
from vicur.steps.portion_step import run_plan_step

CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Dataset:
    """An artifact of Kubeflow Pipelines that is here already."""

    path: str
    metadata: Mapping[str, Any]


def write_source(folder: Path, files: int = 4, rows: int = 3) -> Path:
    """Write a folder with rows in several files."""
    folder.mkdir()
    for file in range(files):
        fields = [{"id": f"{file}-{row}", "question": "What?", "answer": "1", "images": []} for row in range(rows)]
        (folder / f"part-{file}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in fields))
    return folder


def write_dataset(folder: Path, examples: int = 12) -> Path:
    """Write a prepared dataset whose examples have no images."""
    folder.mkdir()
    writer = DatasetWriter(folder)
    for number in range(examples):
        writer.add(
            Example(id=f"{number}", images=(), question="What?", answer="1", source="test", split="distill", cue="One.")
        )
    writer.finish({"type": "test"}, seed=0, skipped=0)
    return folder


def execution(
    folder: Path, source: Path, dataset: Path, form: Mapping[str, Any] | None = None, **settings: Any
) -> Execution:
    """Compile a package for ``source``, of which the first step and the plans are real."""
    folder.mkdir(exist_ok=True)
    preset = {
        "data": {"type": "folder", "path": str(source), "required_splits": [], "max_skipped_share": 1.0},
        "cues": {"provider": "annotation"},
        **settings,
    }
    (folder / "preset.json").write_text(json.dumps(preset))
    config = load_settings(PIPELINES["cluster"].config, folder / "preset.json")
    write_package(folder / "p.yaml", config, None, versioned=True, pipeline="cluster")
    preflight = preflight_outputs(folder)

    def outputs(task: Executed) -> Mapping[str, Any]:
        if not task.name.endswith("-plan"):
            return preflight(task)
        inputs = {"dataset": Dataset(str(dataset), {})} if task.name == "extract-plan" else {}
        step, count = task.parameters["step"], int(task.parameters["count"])
        run_plan_step(task.name.removesuffix("-plan"), step, count, inputs, str(folder / task.name))
        return {"portions": json.loads((folder / task.name).read_text())}

    return Execution(folder / "p.yaml", form or {}, outputs)
