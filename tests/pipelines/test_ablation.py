"""A whole ablation with its real stages, on little data and for a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.pipelines.small import SMALL, summary, vicur
from tests.training.factory import save_random_base

CONFIG = {
    "name": "small-ablation",
    "seeds": [0, 1],
    **SMALL,
    "evaluation": {"splits": ["test", "ood"], "decoding": {"type": "greedy", "max_new_tokens": 4}},
    "arms": [
        {"name": "cue", "about": "cue as hint", "method": "vicur", "paper": "vicur"},
        {
            "name": "off",
            "about": "the same, module off",
            "students_of": "cue",
            "evaluation": {"cue_recovery": False, "attention_samples": 0},
        },
    ],
    "contrasts": [{"question": "Does it help?", "first": "cue", "second": "base", "expected": "better"}],
    "resamples": 1000,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    save_random_base(folder / "base")
    (folder / "ablation.yaml").write_text(yaml.safe_dump(CONFIG))
    run = vicur(folder, "ablate", "ablation.yaml", "--results", "docs/page.md")
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_every_cell_is_evaluated_and_a_shared_student_is_trained_once(project: Path) -> None:
    status = {stage["name"]: stage["status"] for stage in summary(project)["stages"]}
    cells = {f"evaluate {arm}.{seed}" for arm in ("cue", "off") for seed in (0, 1)}
    assert cells | {"train cue.0", "train cue.1", "evaluate base", "ablate"} <= set(status)
    assert {name for name in status if name.startswith("train")} == {"train cue.0", "train cue.1"}
    # A student that two cells evaluate is trained by the first cell and reused by the other.
    assert {status[name] for name in status if name.startswith("train")} == {"reused"}
    assert {status[name] for name in status if not name.startswith("train")} == {"finished"}


def test_the_summary_has_each_arm_over_its_seeds_and_the_result_of_each_contrast(project: Path) -> None:
    ablation = summary(project)["ablation"]
    assert set(ablation["arms"]) == {"cue", "off"}
    for arm in ablation["arms"].values():
        assert set(arm["mean"]) == set(arm["std"]) == {"test", "ood"}
        assert arm["difference"]["low"] <= arm["difference"]["mean"] <= arm["difference"]["high"]
        assert arm["difference"]["mean"] == pytest.approx(arm["mean"]["test"] - ablation["base"]["test"])
    assert ablation["held"][0].startswith("Does it help? ")


def test_the_page_and_its_plots_are_copied_to_the_requested_path(project: Path) -> None:
    page = (project / "docs" / "page.md").read_text()
    assert "](page/accuracy.svg)" in page
    assert "](results/" not in page
    assert (project / "docs" / "page" / "accuracy.svg").is_file()
    assert (project / "runs" / "latest" / "results.md").is_file()
