"""Cache keys change with everything that a step's result depends on, and with nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vicur.cluster.keys import cache_keys
from vicur.config.ablation import AblationConfig
from vicur.config.run import RunConfig
from vicur.stage.table import STAGES, step_labels

VERSIONS: Mapping[str, str] = dict.fromkeys(STAGES, "code")
BASE = {"base", "evaluate base"}
STUDENT = {"train vicur", "evaluate vicur"}
ALL = set(step_labels(RunConfig(methods=("vicur",))))
ENDING = ALL - {"prepare", "extract"} - BASE - STUDENT


def keys(versions: Mapping[str, str] = VERSIONS, **settings: Any) -> dict[str, str]:
    return cache_keys(RunConfig.model_validate({"methods": ["vicur"], **settings}), versions)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {label for label in before if before[label] != after[label]}


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({"cues": {"provider": {"type": "annotation"}}}, {"extract", *STUDENT, *ENDING}),
        ({"training": {"steps": 7}}, {*STUDENT, *ENDING}),
        ({"evaluation": {"splits": ["test"]}}, {"evaluate base", "evaluate vicur", *ENDING}),
        ({"comparison": {"resamples": 1000}}, ENDING),
        ({"seed": 1}, ALL),
        ({"data": {"type": "digit_scenes", "test": {"digits_per_class": 4, "scenes": 4}}}, ALL - {"base"}),
        ({"registry": {"model": "other"}}, {"register"}),
        ({"cluster": {"gpu_count": 8}}, set()),
        ({"training": {"micro_batch_size": 1}}, set()),
    ],
)
def test_a_setting_changes_the_keys_of_the_steps_that_depend_on_it(settings: dict[str, Any], labels: set[str]) -> None:
    assert changed(keys(), keys(**settings)) == labels


@pytest.mark.parametrize(
    ("stage", "labels"),
    [("extract", {"extract", *STUDENT, *ENDING}), ("train", {*STUDENT, *ENDING}), ("compare", ENDING)],
)
def test_new_code_changes_the_keys_of_the_steps_that_run_after_it(stage: str, labels: set[str]) -> None:
    assert changed(keys(), keys({**VERSIONS, stage: "new"})) == labels


def test_another_method_leaves_the_keys_of_the_students_unchanged() -> None:
    before, after = keys(), keys(methods=["vicur", "grpo"])
    assert {label for label in before if before[label] != after[label]} == ENDING


def test_each_cell_of_an_ablation_has_its_own_keys() -> None:
    arms = [
        {"name": "a", "about": "one", "method": "vicur"},
        {"name": "off", "about": "other", "students_of": "a", "evaluation": {"cue_recovery": False}},
    ]
    found = cache_keys(AblationConfig.model_validate({"arms": arms, "seeds": [0, 1]}), VERSIONS)
    cells = {label: key for label, key in found.items() if "." in label}
    assert set(cells) == {f"{name}.{seed}" for name in ("train a", "evaluate a", "evaluate off") for seed in (0, 1)}
    assert len(set(cells.values())) == len(cells)


def test_other_weights_at_the_same_path_are_another_base(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"first")
    before = keys(base={"path": str(tmp_path)})
    assert keys(base={"path": str(tmp_path)}) == before
    (tmp_path / "model.safetensors").write_bytes(b"second")
    assert changed(before, keys(base={"path": str(tmp_path)})) == {*BASE, *STUDENT, *ENDING}


def test_other_weights_of_the_teacher_make_another_student(tmp_path: Path) -> None:
    def of(teacher: Path) -> dict[str, str]:
        return keys(methods=["opd"], training={"teacher": {"type": "checkpoint", "path": str(teacher)}})

    (tmp_path / "model.safetensors").write_bytes(b"first")
    before = of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"second")
    assert changed(before, of(tmp_path)) == {"train opd", "evaluate opd", *ENDING}
