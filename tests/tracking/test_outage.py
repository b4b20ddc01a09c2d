"""A training never waits for MLflow in order to log, and every step arrives exactly once, whatever the server does meanwhile."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.tracking.gate import Gate, gate
from tests.tracking.server import Server, free_port
from tests.training.conftest import base, inputs, session
from tests.training.train_once import SETTINGS
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.stage.events import Events
from vicur.stage.runner import Session, execute
from vicur.tracking.runs import open_tracker
from vicur.tracking.sender import ONE_TRY
from vicur.tracking.tracker import Tracker
from vicur.training import TRAIN

__all__ = ["base", "inputs", "session"]

STEP_SECONDS = 0.01
NAMES = ("loss", "validation_accuracy")


def records(last: int) -> list[dict[str, Any]]:
    """Return the records of a training up to step ``last``."""
    return [{"step": 0, "validation_accuracy": 0.1}, *({"step": n, "loss": 1.0 / n} for n in range(1, last + 1))]


def train(tracker: Tracker, first: int, last: int) -> tuple[float, float]:
    """Make steps and log each. Return the seconds of the steps and those that the loop spent in the tracker."""
    started, blocked = time.monotonic(), 0.0
    for step in range(first, last + 1):
        time.sleep(STEP_SECONDS)
        made = records(step)
        before = time.monotonic()
        tracker.steps(made, NAMES)
        blocked += time.monotonic() - before
    return time.monotonic() - started - blocked, blocked


def steps_in(tracker: Tracker) -> list[int]:
    assert tracker.client is not None
    assert tracker.run_id is not None
    client = MlflowClient(tracking_uri=tracker.client.tracking_uri)
    return sorted(each.step for each in client.get_metric_history(tracker.run_id, "loss"))


def messages(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.message for record in caplog.records if text in record.message]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the sender try often, so that it meets the outage many times within a short test."""
    monkeypatch.setattr("vicur.tracking.sender._COLLECT_SECONDS", 0.05)
    monkeypatch.setattr("vicur.tracking.sender._FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr("vicur.tracking.sender._LONGEST_RETRY_SECONDS", 0.2)
    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture
def way(server: Server) -> Iterator[Gate]:
    with gate(server.port) as opened:
        yield opened


def through(way: Gate, name: Path) -> TrackingConfig:
    return TrackingConfig(uri=f"http://127.0.0.1:{way.port}", experiment=name.name)


def test_training_is_not_slowed_down_by_a_server_that_stops_and_starts_again(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker(TrackingConfig(uri=server.uri, experiment=tmp_path.name), "r", "train")
    try:
        with caplog.at_level(logging.INFO, "vicur"), tracker:
            before = train(tracker, 1, 50)
            assert before[1] / before[0] < 0.1, "logging waits although the server responds"
            assert tracker.flush()
            server.stop()
            worked, blocked = train(tracker, 51, 250)
            assert messages(caplog, "is unavailable"), "the sender met the outage"
            # On a busy machine, each call waits for the processor, with and without a server.
            assert blocked / worked < before[1] / before[0] + 0.02
            server.start()
            train(tracker, 251, 260)
    finally:
        server.ensure_started()
    assert steps_in(tracker) == list(range(1, 261))
    assert len(messages(caplog, "is unavailable")) == len(messages(caplog, "responds again")) == 1


def test_training_that_resumes_during_an_outage_sends_only_what_is_missing(way: Gate, tmp_path: Path) -> None:
    config = through(way, tmp_path)
    first = open_tracker(config, "r", "train")
    train(first, 1, 20)
    assert first.flush()
    # The process is killed here. The next one gets the records of its checkpoint, and of no other step.
    with open_tracker(config, "r", "train") as second:
        assert second.run_id == first.run_id
        way.close()
        train(second, 10, 40)
        assert not second.flush()
        way.open()
        train(second, 41, 80)
    assert steps_in(second) == list(range(1, 81))


def test_real_training_makes_its_steps_while_the_server_is_away(
    way: Gate, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times: list[tuple[float, float]] = []
    log_steps = Tracker.steps

    def timed(tracker: Tracker, *arguments: Any) -> None:
        started = time.monotonic()
        log_steps(tracker, *arguments)
        times.append((started, time.monotonic()))

    def progress(_events: Events, done: int, total: int, _text: str = "") -> None:
        if done == 2:
            way.close()
        if done == total:
            way.open()

    monkeypatch.setattr(Tracker, "steps", timed)
    monkeypatch.setattr(Events, "progress", progress)
    config = through(way, tmp_path)
    settings = {**SETTINGS.model_dump(), "steps": 14, "batch_size": 16, "validate_every": 14, "patience": 100}
    trackers: list[Tracker] = []

    def tracker(stage: str) -> Tracker:
        trackers.append(open_tracker(config, "run", stage))
        return trackers[-1]

    own = Session("run", 0, None, tmp_path / "work", tracker)
    execute(TRAIN, TrainConfig.model_validate(settings), inputs, tmp_path / "student", own)
    during = times[2:-1]
    blocked = sum(end - start for start, end in during)
    assert len(during) >= 10
    assert blocked < 0.02 * (during[-1][1] - during[0][0])
    assert steps_in(trackers[0]) == list(range(1, 15))


def test_lost_response_does_not_duplicate_metrics(way: Gate, tmp_path: Path) -> None:
    with open_tracker(through(way, tmp_path), "r", "train") as tracker:
        train(tracker, 1, 5)
        assert tracker.flush()
        way.loses_responses = True
        train(tracker, 6, 10)
        tracker.metrics({"gpu_hours": 1.5})
        assert not tracker.flush()
        way.loses_responses = False
    assert steps_in(tracker) == list(range(1, 11))
    assert tracker.client is not None
    assert [each.value for each in tracker.client.get_metric_history(tracker.run_id, "gpu_hours")] == [1.5]


def test_metrics_that_never_reach_mlflow_are_in_a_file_and_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr("vicur.tracking.tracker._CLOSE_SECONDS", 0.5)
    monkeypatch.setattr("vicur.tracking.backlog._IN_MEMORY", 3)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with Tracker(client=client, run_id="abc") as tracker:
        train(tracker, 1, 9)
    assert time.monotonic() - started < 10
    file = tmp_path / "scratch" / "unsent" / "abc.jsonl"
    (message,) = messages(caplog, "MLflow did not get")
    assert "the metrics of 10 steps" in message
    assert str(file) in message
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == list(range(10))


def test_metrics_that_an_attempt_could_not_send_are_sent_by_the_next_one(
    way: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vicur.tracking.tracker._CLOSE_SECONDS", 0.5)
    config = through(way, tmp_path)
    with open_tracker(config, "r", "train") as first:
        way.close()
        train(first, 1, 5)
        first.metrics({"gpu_hours": 1.5})
    file = tmp_path / "scratch" / "unsent" / f"{first.run_id}.jsonl"
    with file.open("ab") as stream:
        stream.write(b'{"step": 6, "ti')
    way.open()
    with open_tracker(config, "r", "train") as second:
        train(second, 5, 8)
        second.metrics({"gpu_hours": 2.0})
    assert steps_in(second) == list(range(1, 9))
    assert second.client is not None
    assert [each.value for each in second.client.get_metric_history(second.run_id, "gpu_hours")] == [1.5, 2.0]
    assert not file.exists()


def test_server_that_accepts_connections_and_never_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vicur.tracking.tracker._CLOSE_SECONDS", 0.5)
    monkeypatch.setitem(ONE_TRY, "MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = MlflowClient(tracking_uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with Tracker(client=client, run_id="abc") as tracker:
            _, blocked = train(tracker, 1, 30)
        assert blocked < 0.5
        # What it waits for at the end: its own seconds, the request that has begun, and one to close the run.
        assert time.monotonic() - started < 15
    assert messages(caplog, "MLflow did not get the metrics of 31 steps")


def test_long_outage_does_not_fill_the_memory_and_loses_nothing(
    way: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vicur.tracking.backlog._IN_MEMORY", 7)
    with open_tracker(through(way, tmp_path), "r", "train") as tracker:
        way.close()
        train(tracker, 1, 60)
        (file,) = (tmp_path / "scratch" / "unsent").iterdir()
        assert len(file.read_text().splitlines()) == 61 - 7
        way.open()
        train(tracker, 61, 65)
    assert steps_in(tracker) == list(range(1, 66))
    assert not file.exists()


@contextmanager
def refusing() -> Iterator[tuple[str, list[str]]]:
    """Serve what MLflow's basic auth answers to a user without permission. Yields the address and the requests so far."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append(self.path)
            body = b"Permission denied"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


def test_refused_metrics_are_reported_once_and_never_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    with refusing() as (uri, requests), Tracker(client=MlflowClient(tracking_uri=uri), run_id="abc") as tracker:
        tracker.metrics({"loss": 1.0}, 1)
        assert not tracker.flush()
        train(tracker, 1, 20)
    assert [path for path in requests if "log-batch" in path] == ["/api/2.0/mlflow/runs/log-batch"]
    (message,) = messages(caplog, "refuses")
    assert "Permission denied" in message
    assert messages(caplog, "MLflow did not get the metrics of 22 steps")
