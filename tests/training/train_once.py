"""Runs the training stage in a process that tests can kill."""

from collections.abc import Mapping
from pathlib import Path

from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.stage.runner import Session, execute
from vicur.tracking.runs import open_tracker
from vicur.tracking.tracker import Tracker
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


def tracking(root: Path) -> TrackingConfig:
    """An MLflow store below ``root``."""
    return TrackingConfig(uri=f"sqlite:///{root}/mlflow.db")


def train_once(
    inputs: Mapping[str, Path],
    root: Path,
    settings: TrainConfig = SETTINGS,
    *,
    mlflow: bool = False,
    checkpoints: str | None = None,
) -> Path:
    """Train below ``root``, resuming from what an earlier process left there, and return the student's folder."""

    def tracker(stage: str) -> Tracker:
        return open_tracker(tracking(root), "run", stage) if mlflow else Tracker(root / "tracked.jsonl")

    place = None if checkpoints is None else lambda _: checkpoints
    session = Session("run", 0, root / "cache", root / "scratch", tracker, place)
    execute(TRAIN, settings, inputs, root / "student", session)
    return root / "student"


def train_and_exit(*args: object, **kwargs: object) -> None:
    """As :func:`train_once`, but exit with the status of the command."""
    try:
        train_once(*args, **kwargs)
    except VicurError as error:
        raise SystemExit(error.exit_code) from None
