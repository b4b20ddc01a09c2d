"""Settings that make controls: false cues, images that the student's text cannot see, the last weights instead of the best."""

import pytest
import torch

from tests.training.factory import scenes
from tests.training.train_once import SETTINGS
from vicur.config.training import TrainConfig
from vicur.cues import read_cues
from vicur.cues.swap import swapped_cues
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.modeling.image_blocking import blocks_images
from vicur.stage.runner import execute
from vicur.training import TRAIN


def config(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate({**SETTINGS.model_dump(), "steps": 2, **settings})


def test_the_last_weights_are_kept_where_they_are_asked_for(inputs, session, tmp_path):
    """Two steps give a random model no better accuracy: its best weights are those that it began with."""
    before = load_model(inputs["base"]).state_dict()
    moved = {}
    for keep in ("best", "last"):
        summary = execute(TRAIN, config(method="opsd-cue", keep=keep), inputs, tmp_path / keep, session)
        after = load_model(tmp_path / keep).state_dict()
        moved[keep] = summary.best_step, any(not torch.equal(before[name], after[name]) for name in before)
    assert moved == {"best": (0, False), "last": (0, True)}


def test_examples_whose_question_leaves_no_false_cue_are_skipped_and_counted(inputs, session, tmp_path):
    pool = scenes("distill")
    false = swapped_cues(pool, read_cues(inputs["cues"]), session.seed)
    assert 0 < len(false) < len(pool)
    swapped = config(cue_of="another", max_unhinted_share=1.0)
    summary = execute(TRAIN, swapped, inputs, tmp_path / "student", session)
    assert summary.skipped == {e.id: "has no cue to hint with" for e in pool if e.id not in false}


def test_a_hint_without_a_cue_has_none_to_swap():
    with pytest.raises(VicurError, match="holds no cue that could be another's: the privilege is answer"):
        config(method="opsd", cue_of="another")


def test_a_student_is_barred_as_its_training_says_and_its_teacher_is_not(inputs, session, tmp_path):
    execute(TRAIN, config(bar_images=True), inputs, tmp_path / "barred", session)
    assert blocks_images(load_model(tmp_path / "barred").config)
    assert not blocks_images(load_model(inputs["base"]).config)
