"""The progress of a training reaches the TrainJob's status where the server has one, and from there the step's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.trainer_status_double import TrainerStatusDouble, trainer_status_server
from vicur.cluster.jobs.progress import NodeEvents
from vicur.cluster.jobs.status import Phase, job_status


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerStatusDouble]:
    monkeypatch.setattr("vicur.cluster.jobs.progress._SECONDS", 0.05)
    with trainer_status_server(tmp_path / "mounted", "vicur-train") as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        yield double


def until(double: TrainerStatusDouble, requests: int) -> None:
    deadline = time.monotonic() + 30
    while double.requests < requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_progress_and_the_remaining_time_are_in_the_status(server: TrainerStatusDouble) -> None:
    with NodeEvents("train vicur", None) as events:
        events.emit("started")
        events.emit("progress", "loss 0.5", done=50, total=200)
        until(server, 1)
        events.emit("progress", "loss 0.4", done=60, total=200)
        until(server, 2)
        # It stops early.
        events.emit("finished", "accuracy 0.7")
    first, second, last = server.accepted
    assert first["progressPercentage"] == 25
    assert first["metrics"] == [{"name": "step", "value": "50"}, {"name": "steps", "value": "200"}]
    assert "estimatedRemainingSeconds" not in first, "one step says nothing about the time"
    assert second["progressPercentage"] == 30
    assert second["estimatedRemainingSeconds"] >= 0
    assert (last["progressPercentage"], last["estimatedRemainingSeconds"]) == (100, 0)


def test_many_steps_are_few_requests_with_the_newest(
    server: TrainerStatusDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicur.cluster.jobs.progress._SECONDS", 60)
    with NodeEvents("train vicur", None) as events:
        for step in range(1, 101):
            events.emit("progress", "", done=step, total=100)
    assert server.requests <= 2
    assert server.accepted[-1]["progressPercentage"] == 100


def test_refused_progress_is_reported_once_and_the_training_goes_on(
    server: TrainerStatusDouble, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mounted" / "token").write_text("of another job")
    with caplog.at_level(logging.WARNING, "vicur"), NodeEvents("train vicur", None) as events:
        events.emit("progress", "", done=1, total=10)
        until(server, 1)
        events.emit("progress", "", done=2, total=10)
    assert server.requests == 1
    assert [record.message for record in caplog.records] == [
        "The progress is not in the TrainJob's status: the server responded with 403."
    ]


def test_server_that_does_not_respond_delays_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with trainer_status_server(tmp_path / "mounted", "vicur-train") as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
    started = time.monotonic()
    with NodeEvents("train vicur", None) as events:
        for step in range(1, 101):
            events.emit("progress", "", done=step, total=100)
        assert time.monotonic() - started < 1
    assert double.accepted == []


def test_progress_in_the_status_is_shown_for_people() -> None:
    status = {
        "progressPercentage": 45,
        "estimatedRemainingSeconds": 4980,
        "metrics": [{"name": "step", "value": "90"}, {"name": "steps", "value": "200"}],
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
    }
    job = {"spec": {}, "status": {"trainerStatus": status}}
    shown = job_status(job, [{"metadata": {}, "status": {"phase": "Running"}}], 1, "")
    assert (shown.phase, shown.description) == (Phase.RUNNING, "the node is running")
    assert shown.progress == "step 90 of 200, 45 %, about 1 h 23 min left"
    assert job_status({"spec": {}}, [{"metadata": {}, "status": {"phase": "Running"}}], 1, "").progress == ""
