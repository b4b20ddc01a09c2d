"""Settings for controls: false cues, images hidden from the student's text, the last weights instead of the best."""

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


def test_keep_last_saves_the_last_weights(inputs, session, tmp_path):
    """Two steps do not improve a random model, so its best weights are the initial ones."""
    before = load_model(inputs["base"]).state_dict()
    moved = {}
    for keep in ("best", "last"):
        summary = execute(TRAIN, config(method="opsd-cue", keep=keep), inputs, tmp_path / keep, session)
        after = load_model(tmp_path / keep).state_dict()
        moved[keep] = summary.best_step, any(not torch.equal(before[name], after[name]) for name in before)
    assert moved == {"best": (0, False), "last": (0, True)}


def test_examples_without_a_false_cue_are_skipped_and_counted(inputs, session, tmp_path):
    pool = scenes("distill")
    false = swapped_cues([(e.id, e.question) for e in pool], read_cues(inputs["cues"]), session.seed)
    assert 0 < len(false) < len(pool)
    swapped = config(cue_of="another", max_unhinted_share=1.0)
    summary = execute(TRAIN, swapped, inputs, tmp_path / "student", session)
    assert summary.skipped == {e.id: "has no cue for the hint" for e in pool if e.id not in false}


def test_cue_of_another_needs_a_cue_in_the_hint():
    with pytest.raises(VicurError, match="the hint contains no cue: the privilege is answer"):
        config(method="opsd", cue_of="another")


def test_bar_images_is_saved_with_the_student(inputs, session, tmp_path):
    execute(TRAIN, config(bar_images=True), inputs, tmp_path / "barred", session)
    assert blocks_images(load_model(tmp_path / "barred").config)
    assert not blocks_images(load_model(inputs["base"]).config)
