"""Checkpoints contain all tensors that change besides the student's weights, so a resumed training continues exactly."""

from pathlib import Path

import pytest

from tests.training.conftest import curves
from vicur.config.training import TrainConfig
from vicur.stage.events import Events
from vicur.stage.runner import Session, execute
from vicur.tracking.tracker import Tracker
from vicur.training import TRAIN

SHORT = {"steps": 4, "batch_size": 4, "validate_every": 2, "checkpoint_every": 1, "validation_examples": 4}


class Cut(Events):
    """Events that interrupt the training at a step."""

    def __init__(self, step: int) -> None:
        super().__init__("train", None)
        self._step = step

    def progress(self, done: int, total: int, text: str = "") -> None:
        if done == self._step:
            raise KeyboardInterrupt
        super().progress(done, total, text)


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher": {"type": "self-ema", "decay": 0.5}},
        {"teacher": {"type": "self-ema", "decay": 0.5}, "trained": {"type": "lora", "rank": 4, "vision": True}},
        {"teacher": {"type": "self-adapter-off"}, "trained": {"type": "lora", "rank": 4}},
    ],
    ids=["average", "average-lora", "adapter-off"],
)
def test_interrupted_training_resumes_bit_for_bit(inputs: dict[str, Path], tmp_path: Path, settings: dict) -> None:
    config = TrainConfig.model_validate(
        {**SHORT, **settings, "method": "vicur", "learning_rate": 0.01, "rollout": {"max_new_tokens": 6}}
    )

    def session(name: str) -> Session:
        return Session("run", 0, None, tmp_path / name, lambda _: Tracker())

    execute(TRAIN, config, inputs, tmp_path / "whole", session("a"))
    with pytest.raises(KeyboardInterrupt):
        execute(TRAIN, config, inputs, tmp_path / "cut", session("b"), events=Cut(2))
    execute(TRAIN, config, inputs, tmp_path / "cut", session("b"))
    whole, cut = curves(tmp_path / "whole"), curves(tmp_path / "cut")
    assert [record["step"] for record in whole] == [0, 1, 2, 3, 4]
    # Loss and gap of a step depend on every bit of the student's and the teacher's weights before it.
    assert whole == cut
