"""Inputs of a registration that do not belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.registry.conftest import Make
from tests.registry.factory import BETTER, GOOD, run_register
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.tracking.mlflow import connect


@pytest.mark.usefixtures("embedded")
def test_a_student_trained_on_other_data_is_refused_before_anything_is_written(
    students: Make, other_data: dict[str, Path]
) -> None:
    for name in ("dataset", "cues"):
        with pytest.raises(VicurError, match=f"is not the {name} that the student was trained with"):
            run_register({**students(GOOD), name: other_data[name]})
    assert connect(TrackingConfig()).search_registered_models() == []


@pytest.mark.usefixtures("embedded")
def test_evaluations_of_other_students_are_refused(students: Make) -> None:
    for name in ("evaluation", "base_evaluation", "comparison"):
        other = students(BETTER) if name != "base_evaluation" else {name: students(GOOD)["evaluation"]}
        with pytest.raises(VicurError, match="was not made from these evaluations of vicur"):
            run_register({**students(GOOD), name: other[name]})


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"method": "vicur"}'])
def test_a_student_with_a_damaged_record_is_refused(students: Make, tmp_path: Path, text: str) -> None:
    shutil.copytree(students(GOOD)["student"], tmp_path / "student")
    (tmp_path / "student/vicur.json").write_text(text)
    with pytest.raises(VicurError, match=r"vicur\.json: is not a training record"):
        run_register({**students(GOOD), "student": tmp_path / "student"})


@pytest.mark.usefixtures("embedded")
def test_a_checkpoint_that_was_never_distilled_is_refused(students: Make, base_model: Path) -> None:
    with pytest.raises(VicurError, match="the folder is not a student"):
        run_register({**students(GOOD), "student": base_model})
