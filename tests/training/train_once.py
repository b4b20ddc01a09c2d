"""Runs the training stage in a process of its own, for tests that kill it.

python -m tests.training.train_once BASE DATASET CUES ROOT
"""

import sys
from pathlib import Path

from vicur.config.training import TrainConfig
from vicur.stage import Session, execute
from vicur.tracking import Tracker
from vicur.training import TRAIN

SETTINGS = TrainConfig(
    method="vicur",
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    validate_every=2,
    checkpoint_every=1,
    validation_examples=6,
    rollout={"max_new_tokens": 6},
)


def train_once(base: Path, dataset: Path, cues: Path, root: Path) -> Path:
    """Trains below ``root``, going on from what an earlier process left there.

    Returns:
        The student's folder.
    """
    session = Session("run", 0, root / "cache", root / "scratch", lambda _: Tracker(root / "tracked.jsonl"))
    execute(TRAIN, SETTINGS, {"base": base, "dataset": dataset, "cues": cues}, root / "student", session)
    return root / "student"


if __name__ == "__main__":
    train_once(*(Path(argument) for argument in sys.argv[1:]))
