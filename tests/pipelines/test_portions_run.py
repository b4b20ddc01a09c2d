"""The steps of stages in portions, run by kfp.local as processes of their own, give what single stages give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import make_context, png
from tests.pipelines.small import environment
from vicur.config.cues import CuesConfig
from vicur.config.data import FolderConfig
from vicur.cues import extract
from vicur.data import prepare
from vicur.stage.events import Events, read_events
from vicur.stage.runner import Context
from vicur.storage.folders import tree_sha256
from vicur.tracking.tracker import Tracker

REPO = Path(__file__).parents[2]
RUN = """
import json, sys
from functools import partial
from kfp import local
from vicur_pipelines.graph import pipeline_with
from vicur_pipelines.portions import add_portions
from vicur_pipelines.tasks import configure_task
from vicur.stage.table import STEPS
from tests.pipelines.local_loops import correct_loops

correct_loops()
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="outputs", raise_on_error=True)
arguments = json.loads(sys.argv[1])
prepare, extract = STEPS[:2]
configure = partial(configure_task, retries=1, backoff="1s")

def build(values):
    dataset = add_portions(configure, prepare, values["prepare_step"], 2).outputs["dataset"]
    add_portions(configure, extract, values["extract_step"], 2, dataset=dataset)

pipeline_with("portions", {name: dict for name in arguments}, build)(**arguments)
"""
# Kills the first attempt at one portion, as a node that is lost does.
KILL = """
import os, pathlib, signal, sys
words = " ".join(sys.orig_argv).replace(" ", "").replace("\\\\", "")
if "prepare_portion" in words and '"subject":"2"' in words and not pathlib.Path("killed").exists():
    pathlib.Path("killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
SETTINGS: dict[str, Any] = {
    "data": {"type": "folder", "path": "source", "required_splits": []},
    "cues": {"provider": {"type": "annotation"}, "max_leak_share": 1.0},
}


def write_source(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    for file in range(2):
        rows = [
            {"id": f"{file}-{row}", "images": ["a.png"], "question": f"{file} {row}?", "answer": "1", "cue": "One."}
            for row in range(20)
        ]
        (folder / f"{file}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.slow
def test_steps_in_portions_give_the_outputs_of_single_stages_and_survive_a_kill(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(KILL)
    settings = {**SETTINGS, "data": {**SETTINGS["data"], "path": str(tmp_path / "source")}}
    steps = {
        f"{stage}_step": {"config": settings[section]} for stage, section in (("prepare", "data"), ("extract", "cues"))
    }
    events = tmp_path / "events.jsonl"
    run = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(steps)],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": f"{REPO}:{tmp_path / 'fault'}", "VICUR_EVENTS": str(events)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert (tmp_path / "killed").exists()
    started = [event.stage for event in read_events(events)[0] if event.status == "started"]
    numbered = [f"{stage}-portion {number}" for stage in ("prepare", "extract") for number in (1, 2)]
    assert sorted(started) == sorted(["prepare-plan", "prepare", "extract-plan", "extract", *numbered])
    data, cues = FolderConfig.model_validate(settings["data"]), CuesConfig.model_validate(settings["cues"])
    for name in ("dataset", "cues"):
        (tmp_path / name).mkdir()
    prepare(data, data.inputs(), tmp_path / "dataset", make_context(tmp_path / "work"))
    context = Context("run", 0, Tracker(), Events("extract", None), tmp_path / "work")
    extract(cues, {"dataset": tmp_path / "dataset"}, tmp_path / "cues", context)
    for name in ("dataset", "cues"):
        [folder] = (tmp_path / "outputs").glob(f"*/*/{name}")
        assert tree_sha256(folder) == tree_sha256(tmp_path / name)
