"""Checkpoints are written in the background, by time at most 2 % of it, and errors of a write reach the training."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.training.test_checkpoint import checkpoint_of, trained
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.training.checkpoint import Checkpoint
from vicur.training.checkpoint_writer import CheckpointWriter


class Clock:
    """A clock that tests turn on. Its thread time is that of the write."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.cpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr("vicur.training.checkpoint_writer.time", clock)
    return clock


def checkpoint(step: int = 1) -> Checkpoint:
    return checkpoint_of(*trained(1), step)


def test_training_goes_on_while_a_checkpoint_is_written() -> None:
    release, saved = threading.Event(), []

    def save(each: Checkpoint) -> None:
        release.wait(30)
        saved.append(each.progress.step)

    with CheckpointWriter(save, minutes=0) as writer:
        writer.write(lambda: checkpoint(1))
        assert (writer.last_step(), saved) == (-1, []), "nothing is logged as saved before it is"
        release.set()
        writer.write(lambda: checkpoint(2))
        assert saved[0] == 1, "one at a time"
        writer.wait()
        assert (writer.last_step(), saved) == (2, [1, 2])


def test_checkpoint_is_due_after_the_minutes_and_not_while_one_is_written(clock: Clock) -> None:
    release = threading.Event()
    with CheckpointWriter(lambda _: release.wait(30), minutes=10) as writer:
        clock.now = 599
        assert not writer.is_due
        clock.now = 600
        assert writer.is_due
        writer.write(checkpoint)
        clock.now = 1300
        assert not writer.is_due
        release.set()
        writer.wait()
        assert writer.is_due
        # One after a number of steps counts, too.
        writer.write(checkpoint)
        writer.wait()
        clock.now = 1899
        assert not writer.is_due


def test_expensive_checkpoints_are_written_less_often_which_is_logged_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def take() -> Checkpoint:
        clock.now += 14
        return checkpoint()

    def save(_: Checkpoint) -> None:
        clock.cpu += 10

    with caplog.at_level(logging.INFO, "vicur"), CheckpointWriter(save, minutes=10) as writer:
        for number in range(3):
            begun = clock.now
            writer.write(take)
            writer.wait()
            clock.now = begun + 24 * 50 - 1
            assert not writer.is_due, number
            clock.now = begun + 24 * 50
            assert writer.is_due, number
    (record,) = caplog.records
    assert record.message == (
        "A checkpoint costs 24.0 s, so there is one every 20.0 minutes instead of 10: at most 2 % of the time."
    )


def test_no_checkpoint_is_due_without_minutes(clock: Clock) -> None:
    with CheckpointWriter(lambda _: None, minutes=0) as writer:
        clock.now = 1e9
        assert not writer.is_due


def test_error_of_a_write_reaches_the_training() -> None:
    def save(_: Checkpoint) -> None:
        raise VicurError("the bucket is gone.", remedy="Create it.")

    with CheckpointWriter(save, minutes=0) as writer:
        writer.write(checkpoint)
        # At the next checkpoint at the latest.
        with pytest.raises(VicurError, match="the bucket is gone"):
            writer.write(checkpoint)
    with pytest.raises(VicurError, match="the bucket is gone"), CheckpointWriter(save, minutes=0) as writer:
        writer.write(checkpoint)


@pytest.mark.parametrize(("value", "minutes"), [(None, 0), (0, 0), (2.5, 2.5)])
def test_null_and_zero_turn_checkpoints_by_time_off(value: Any, minutes: float) -> None:
    config = TrainConfig.model_validate({"checkpoint_minutes": value})
    assert config.checkpoint_minutes == minutes
    assert config.identity() == TrainConfig().identity()


def test_negative_minutes_are_refused() -> None:
    with pytest.raises(ValueError, match="checkpoint_minutes"):
        TrainConfig.model_validate({"checkpoint_minutes": -1})
