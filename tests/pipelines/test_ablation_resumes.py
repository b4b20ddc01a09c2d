"""``vicur ablate``: no cell runs twice, and a cell that fails does not stop the others."""

from __future__ import annotations

import pytest
import yaml

from tests.pipelines.conftest import Project

pytestmark = pytest.mark.slow
ARMS = [
    {"name": "a", "about": "one", "method": "opsd"},
    {"name": "b", "about": "other", "method": "vicur"},
    {"name": "c", "about": "borrows", "students_of": "b", "evaluation": {"cue_recovery": False}},
]
COMMAND = ("ablate", "ablation.yaml")


def write(project: Project) -> None:
    (project.folder / "ablation.yaml").write_text(yaml.safe_dump({"arms": ARMS, "seeds": [0, 1]}))


def test_another_seed_runs_only_the_new_cells(project: Project) -> None:
    write(project)
    first = project.run(command=COMMAND)
    assert first.returncode == 0, first.stdout + first.stderr
    again = project.run("--set", "seeds=[0, 1, 2]", command=COMMAND)
    assert again.returncode == 0, again.stdout + again.stderr
    once = {f"{stage}-{arm}.{seed}" for arm in "ab" for stage in ("train", "evaluate") for seed in (0, 1, 2)}
    once |= {f"evaluate-c.{seed}" for seed in (0, 1, 2)}
    calls = project.calls()
    assert {name: calls[name] for name in once} == dict.fromkeys(once, 1)
    assert calls["prepare"] == calls["extract"] == 1


def test_a_cell_that_fails_does_not_stop_the_others_and_the_same_command_resumes_it(project: Project) -> None:
    write(project)
    failed = project.run(command=COMMAND, trouble="train b.0:input")
    assert failed.returncode == 1
    assert "train b.0 failed: photo.png: row 3" in failed.stdout
    status = project.status()
    assert (status["train b.0"], status["evaluate a.1"], status["ablate"]) == ("failed", "finished", "pending")
    done = project.calls()
    again = project.run(command=COMMAND)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Resuming run" in again.stdout
    assert project.calls()["train-a.0"] == done["train-a.0"] == 1
    assert project.status()["ablate"] == "finished"
    assert (project.latest / "results" / "p.svg").is_file()
