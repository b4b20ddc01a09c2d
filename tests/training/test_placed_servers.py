"""Servers that start with a training: found, restarted with its weights, and gone with it. They are doubles with the real gate."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.train_once import SETTINGS, train_once
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.training.rollout import placed


def placed_settings(exchange: Path | None, processes: int = 1, replicas: int = 2) -> TrainConfig:
    engine = {"replicas": replicas, "exchange": None if exchange is None else str(exchange), "start_minutes": 2}
    rollout = {"max_new_tokens": 6, "temperature": 0, "placement": "job", "engine": engine}
    shared = {**SETTINGS.model_dump(), "steps": 3, "validate_every": 3, "keep": "last", "rollout": rollout}
    return TrainConfig.model_validate({**shared, "distribution": {"processes": processes}})


@pytest.fixture
def doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the doubles report."""
    folder = tmp_path / "doubles"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.training.server_double", str(folder)]
    monkeypatch.setattr(placed, "server_command", lambda task: [*command, str(task)])
    monkeypatch.setattr("vicur.training.rollout.servers._WATCH_SECONDS", 0.3)
    return folder


def started(doubles: Path, name: str) -> list[int]:
    """Return the ids of the processes that a server has had so far."""
    file = doubles / f"{name}.pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def kill_once_it_has_answered(doubles: Path, name: str) -> threading.Thread:
    def wait() -> None:
        while not (doubles / f"{name}.served").exists():
            time.sleep(0.02)
        os.kill(started(doubles, name)[0], signal.SIGKILL)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_training_waits_for_its_killed_server_and_ends_as_without_one(
    inputs: dict[str, Path], doubles: Path, tmp_path: Path
) -> None:
    # Weights go over HTTP, as between pods.
    placed_training = placed_settings(None, replicas=1)
    plain = {"max_new_tokens": 6, "temperature": 0}
    own = TrainConfig.model_validate({**placed_training.model_dump(), "rollout": plain})
    expected = load_file(train_once(inputs, tmp_path / "own", own) / "model.safetensors")
    killed = kill_once_it_has_answered(doubles, "rollout-0")
    student = load_file(train_once(inputs, tmp_path / "placed", placed_training) / "model.safetensors")
    killed.join(1)
    assert max(float((student[name] - expected[name]).abs().max()) for name in expected) < 1e-5
    processes = started(doubles, "rollout-0")
    assert len(processes) == 2
    assert not any(map(is_running, processes))
    assert "VICUR_SERVERS" not in os.environ


def test_servers_share_the_requests_and_end_with_the_training(
    inputs: dict[str, Path], doubles: Path, tmp_path: Path
) -> None:
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    settings = placed_settings(exchange).model_copy(update={"steps": 1, "validate_every": 1})
    train_once(inputs, tmp_path / "placed", settings)
    served = [(doubles / f"rollout-{number}.served").stat().st_size for number in range(2)]
    assert abs(served[0] - served[1]) <= 3
    assert not any(is_running(process) for number in range(2) for process in started(doubles, f"rollout-{number}"))
    assert not list(exchange.iterdir())


def test_a_server_that_cannot_run_ends_the_training_with_its_error(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = "import sys; print('no such model', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(placed, "server_command", lambda task: [sys.executable, "-c", failing, str(task)])
    with pytest.raises(VicurError, match=r"the rollout server \d ended with status 2: no such model") as raised:
        train_once(inputs, tmp_path, placed_settings(tmp_path))
    assert raised.value.exit_code == 2
    assert not raised.value.retryable
