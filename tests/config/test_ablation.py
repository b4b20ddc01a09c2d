"""The configuration of an ablation: its cells and its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vicur.config.ablation import AblationConfig, arm_and_seed
from vicur.config.loading import load_settings
from vicur.config.run import RunConfig
from vicur.errors import VicurError

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("ablation*.yaml"))
OPSD = {"name": "opsd", "about": "answer as hint", "method": "opsd"}
VICUR = {"name": "vicur", "about": "cue and module", "method": "vicur"}
OFF = {"name": "off", "about": "module off", "students_of": "vicur", "evaluation": {"cue_recovery": False}}


def ablation(**values: Any) -> AblationConfig:
    return AblationConfig.model_validate({"arms": [OPSD, VICUR, OFF], "seeds": [3, 7], **values})


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_shipped_ablation_is_valid(file: Path) -> None:
    assert load_settings(AblationConfig, file).cells()


def test_the_configuration_of_another_kind_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"configuration of an ablation, not of a run\. Use vicur ablate"):
        load_settings(RunConfig, SHIPPED[0])
    (run := tmp_path / "run.yaml").write_text("methods: [vicur]")
    with pytest.raises(VicurError, match=r"configuration of a run, not of an ablation\. Use vicur run"):
        load_settings(AblationConfig, run)


def test_cells_cover_all_arms_and_seeds_with_borrowing_arms_last() -> None:
    cells = ablation().cells()
    assert [cell.subject for cell in cells] == ["opsd.3", "vicur.3", "opsd.7", "vicur.7", "off.3", "off.7"]
    assert [cell.student for cell in cells][-2:] == ["vicur.3", "vicur.7"]
    assert [cell.seed for cell in cells] == [3, 3, 7, 7, 3, 7]
    assert arm_and_seed("opsd-cue.12") == ("opsd-cue", 12)


def test_an_arm_that_borrows_students_has_their_training() -> None:
    cells = {cell.subject: cell for cell in ablation().cells()}
    assert cells["off.3"].training == cells["vicur.3"].training
    assert cells["off.3"].training.method == "vicur"
    assert cells["off.3"].evaluation == cells["vicur.3"].evaluation.model_copy(update={"cue_recovery": False})


def test_settings_of_an_arm_replace_the_shared_ones() -> None:
    own = {**VICUR, "training": {"steps": 7, "recovery": {"sink": "assistant"}}}
    config = ablation(arms=[OPSD, own], training={"steps": 9, "recovery": {"interval": 3}})
    opsd, vicur = (cell.training for cell in config.cells()[:2])
    assert (opsd.steps, vicur.steps) == (9, 7)
    assert (opsd.recovery.interval, vicur.recovery.interval, vicur.recovery.sink) == (3, 5, "assistant")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"arms": [OPSD, OPSD]}, "two arms of the same name"),
        ({"arms": [OFF]}, "no arm that is trained"),
        ({"arms": [OPSD, OFF]}, "'vicur', which is not an arm that trains any"),
        ({"arms": [{**OPSD, "name": "base"}]}, "cannot be called 'base'"),
        ({"arms": [{**OPSD, "students_of": "vicur"}, VICUR]}, "either method or students_of"),
        ({"arms": [VICUR, {**OFF, "training": {"steps": 3}}]}, "trains none: remove its training"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1]}, "the same seed twice"),
        ({"training": {"per_method": {"opsd": {"steps": 3}}}}, "set training of the arm instead"),
        (
            {"contrasts": [{"question": "?", "first": "opsd", "second": "nobody"}]},
            "'nobody', which is neither an arm nor 'base'",
        ),
        ({"contrasts": [{"question": "?", "first": "opsd", "second": "opsd"}]}, "compares opsd with itself"),
    ],
)
def test_an_inconsistent_ablation_is_rejected(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ablation(**values)


@pytest.mark.parametrize(
    ("arm", "problem"),
    [
        ({**OPSD, "training": {"stepz": 3}}, "arm opsd, training: there is no setting 'stepz'"),
        ({**OPSD, "evaluation": {"splits": ["base"]}}, "arm opsd, evaluation"),
        ({**OPSD, "evaluation": {"max_examples": 5}}, "max_examples differs from that of the other arms"),
        ({**OPSD, "training": {"cue_of": "another"}}, "the hint contains no cue"),
        ({**OPSD, "method": "opd"}, "its folder is not set"),
    ],
)
def test_an_arm_that_cannot_be_trained_is_rejected_when_the_file_is_read(arm: dict[str, Any], problem: str) -> None:
    with pytest.raises(VicurError, match=problem):
        ablation(arms=[arm])


def test_a_contrast_may_compare_with_the_base() -> None:
    contrast = {"question": "?", "first": "vicur", "second": "base", "expected": "better"}
    assert ablation(contrasts=[contrast]).analysis.contrasts[0].second == "base"
