"""Resuming: after a kill at any moment, after SIGTERM, on another machine, and with other settings as a fork."""

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.forking import forking
from tests.training.conftest import curves
from tests.training.train_once import SETTINGS, tracking, train_and_exit, train_once
from vicur.config.training import VALIDATION_BATCH, TrainConfig
from vicur.errors import VicurError
from vicur.modeling import generation
from vicur.processes.retrying import RetryPolicy, retried
from vicur.processes.signals import EXIT_CODE
from vicur.stage.runner import Session, execute
from vicur.tracking.mlflow import connect
from vicur.tracking.tracker import Tracker
from vicur.training import TRAIN, trainer
from vicur.training.rollout import engine
from vicur.training.state import TrainState

KILLS = 12


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    """Return a function that starts a training in a new process, forked from one that has imported everything already."""
    context = forking("tests.training.preloaded")

    def begin(*args: object, **kwargs: object) -> BaseProcess:
        process = context.Process(target=train_and_exit, args=args, kwargs=kwargs)
        process.start()
        return process

    return begin


def kill(process: BaseProcess) -> bool:
    """Kill a process, and return whether it was still running."""
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def wait(process: BaseProcess, root: Path, pattern: str) -> None:
    """Wait until a path matches the pattern, or the process ends."""
    deadline = time.monotonic() + 300
    while process.exitcode is None and not list(root.glob(pattern)):
        assert time.monotonic() < deadline, f"timeout: no {pattern}"
        time.sleep(0.001)


def wait_for_handler(number: signal.Signals, process: BaseProcess) -> None:
    """Wait until the process has installed a handler for a signal."""
    deadline = time.monotonic() + 300
    while True:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        if int(caught, 16) >> (number - 1) & 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_training_killed_at_any_moment_gives_the_same_bytes(uninterrupted, inputs, tmp_path, start, new_root):
    """Twelve kills at random moments: some time after a checkpoint, or while one is being written."""
    draws = random.Random(0)  # noqa: S311
    killed = written = number = 0
    while killed < KILLS:
        root = new_root(tmp_path / str(number))
        number += 1
        while killed < KILLS and not (root / "student").exists():
            process = start(inputs, root, mlflow=True)
            step = draws.randint(0, SETTINGS.steps - 1)
            if draws.random() < 0.4:
                wait(process, root, f"cache/train/*.work/.step-*{step + 1}.*.partial/*")
                time.sleep(draws.random() * 0.01)
            else:
                wait(process, root, f"cache/train/*.work/step-{step:06d}" if step else "cache/train/*.work")
                time.sleep(draws.random() * 0.2)
            if kill(process):
                killed += 1
                written += bool(list(root.glob("cache/train/*.work/.step-*.partial")))
        student = train_once(inputs, root, mlflow=True)
        assert (student / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
        assert curves(student) == curves(uninterrupted)
        assert_tracked_once(root)
    assert written > 0


def test_killed_training_that_samples_ahead_gives_the_same_bytes(inputs, tmp_path, start):
    settings = TrainConfig.model_validate({**SETTINGS.model_dump(), "staleness": 1, "keep": "last"})
    whole, draws, killed = train_once(inputs, tmp_path / "whole", settings), random.Random(1), 0  # noqa: S311
    while killed < 2:
        process = start(inputs, tmp_path / "killed", settings)
        wait(process, tmp_path, f"killed/cache/train/*.work/step-{draws.randint(1, 3) + killed:06d}")
        time.sleep(draws.random() * 0.1)
        if not kill(process):
            break
        killed += 1
    assert killed
    student = train_once(inputs, tmp_path / "killed", settings)
    assert (student / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert curves(student) == curves(whole)


def assert_tracked_once(root: Path) -> None:
    """Assert that one MLflow run has each step of the training once."""
    client = connect(tracking(root))
    (run,) = client.search_runs(["1"], "tags.`vicur.stage` = 'train'")
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(1, SETTINGS.steps + 1))
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "validation_accuracy")]
    assert steps == [0, 2, 4, 6]


def test_sigterm_stops_after_a_step_with_a_checkpoint_to_resume_from(inputs, tmp_path, start):
    long = {"steps": 20, "checkpoint_every": 100, "validate_every": 10, "patience": 100}
    settings = TrainConfig.model_validate({**SETTINGS.model_dump(), **long})
    process = start(inputs, tmp_path / "stopped", settings)
    wait_for_handler(signal.SIGTERM, process)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    stopped = list(tmp_path.glob("stopped/cache/train/*.work/step-*"))
    assert process.exitcode == EXIT_CODE
    assert len(stopped) == 1
    assert 1 <= int(stopped[0].name[-6:]) < settings.steps
    student, whole = (
        train_once(inputs, tmp_path / "stopped", settings),
        train_once(inputs, tmp_path / "whole", settings),
    )
    assert (student / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert curves(student) == curves(whole)
    tracked = [json.loads(line) for line in (tmp_path / "stopped" / "tracked.jsonl").read_text().splitlines()]
    assert [record["step"] for record in tracked if "loss" in record] == list(range(1, settings.steps + 1))


def test_training_killed_between_checkpoints_by_time_gives_the_same_bytes(inputs, tmp_path, start):
    # Too few steps for a checkpoint by their number. The first by time is due at once, the second only after 50 times its cost.
    by_time = {"checkpoint_every": 100, "checkpoint_minutes": 1e-4, "steps": 12, "patience": 100}
    settings = TrainConfig.model_validate({**SETTINGS.model_dump(), **by_time})
    process = start(inputs, tmp_path / "killed", settings)
    wait(process, tmp_path, "killed/cache/train/*.work/step-0000*")
    assert kill(process)
    (saved,) = tmp_path.glob("killed/cache/train/*.work/step-*")
    assert 1 <= int(saved.name[-6:]) < settings.steps
    # Not part of the identity: without checkpoints by time, the training resumes from this one.
    without = TrainConfig.model_validate({**settings.model_dump(), "checkpoint_minutes": None})
    student = train_once(inputs, tmp_path / "killed", without)
    whole = train_once(inputs, tmp_path / "whole", without)
    assert (student / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert curves(student) == curves(whole)


def test_a_second_attempt_in_the_same_process_gives_the_same_bytes(uninterrupted, inputs, tmp_path, monkeypatch):
    """A step in a cluster repeats itself in place after a temporary failure."""
    step, failures = trainer.training_step, [3]

    def interrupted(state: TrainState, rows: object, number: int, *rest: Any) -> dict[str, float]:
        if number in failures:
            failures.clear()
            raise VicurError("the server was lost.", remedy="Wait.", retryable=True)
        return step(state, rows, number, *rest)

    monkeypatch.setattr(trainer, "training_step", interrupted)
    pauses: list[str] = []
    student = retried(lambda: train_once(inputs, tmp_path / "run"), RetryPolicy(3, first=0.002), pauses.append)
    assert len(pauses) == 1
    assert (student / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert curves(student) == curves(uninterrupted)


def test_resumed_training_validates_with_the_batch_that_was_fitted_first(inputs, tmp_path, monkeypatch):
    """Free memory differs from start to start, and rounding with the batch."""
    fitting, asked, sizes = iter([3, 5]), [], []
    real = engine.generate

    def fitting_batch(_model, _prompts, _sampling, most, reserved):
        asked.append((most, reserved))
        return next(fitting)

    def generate(model, chat, prompts, sampling, **settings):
        if not sampling.temperature:
            sizes.append(settings["batch_size"])
        return real(model, chat, prompts, sampling, **settings)

    monkeypatch.setattr(engine, "fitting_batch", fitting_batch)
    monkeypatch.setattr(engine, "generate", generate)
    step, failures = trainer.training_step, [3]

    def interrupted(state: TrainState, rows: object, number: int, *rest: Any) -> dict[str, float]:
        if number in failures:
            failures.clear()
            raise VicurError("the server was lost.", remedy="Wait.", retryable=True)
        return step(state, rows, number, *rest)

    monkeypatch.setattr(trainer, "training_step", interrupted)
    retried(lambda: train_once(inputs, tmp_path / "run"), RetryPolicy(2, first=0.002), lambda _: None)
    # Before step 1, and after steps 2, 4 and 6.
    assert sizes == [3] * 4
    # AdamW's two moments do not exist yet.
    [(most, reserved)] = asked
    trained = load_file(tmp_path / "run" / "student" / "model.safetensors").values()
    assert most == VALIDATION_BATCH
    assert reserved == pytest.approx(2 * sum(weight.nbytes for weight in trained), rel=0.01)


def test_later_validations_keep_to_the_batch_that_memory_held(inputs, tmp_path, monkeypatch):
    sizes = []
    real = generation._generate_batch

    def generate_batch(model, chat, prompts, sampling, *rest):
        if not sampling.temperature:
            sizes.append(len(prompts))
            if len(prompts) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return real(model, chat, prompts, sampling, *rest)

    monkeypatch.setattr(generation, "_generate_batch", generate_batch)
    step, failures = trainer.training_step, [3]

    def interrupted(state: TrainState, rows: object, number: int, *rest: Any) -> dict[str, float]:
        if number in failures:
            failures.clear()
            raise VicurError("the server was lost.", remedy="Wait.", retryable=True)
        return step(state, rows, number, *rest)

    monkeypatch.setattr(trainer, "training_step", interrupted)
    retried(lambda: train_once(inputs, tmp_path / "run"), RetryPolicy(2, first=0.002), lambda _: None)
    # After a resumption, too.
    assert sizes[0] > 4 >= max(sizes[1:])


def test_training_resumes_elsewhere_from_a_shared_folder(uninterrupted, inputs, tmp_path, start):
    place = str(tmp_path / "shared")
    process = start(inputs, tmp_path / "here", checkpoints=place)
    wait(process, tmp_path, "shared/step-000002")
    assert kill(process)
    student = train_once(inputs, tmp_path / "there", checkpoints=place)
    assert (student / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()


def test_checkpoints_of_other_settings_are_rejected_unless_forked(inputs, tmp_path):
    place = str(tmp_path / "shared")
    train_once(inputs, tmp_path / "first", checkpoints=place)
    other = TrainConfig.model_validate({**SETTINGS.model_dump(), "steps": 8, "patience": 10})
    with pytest.raises(VicurError, match=r"config.patience: 6 -> 10; config.steps: 6 -> 8"):
        train_once(inputs, tmp_path / "second", other, checkpoints=place)
    assert not (tmp_path / "second" / "student").exists()
    session = Session("run", 0, None, tmp_path / "scratch", lambda _: Tracker(), fork_from=place)
    summary = execute(TRAIN, other, inputs, tmp_path / "forked", session)
    assert summary.steps == 8
    assert curves(tmp_path / "forked")[:7] == curves(tmp_path / "first" / "student")
    assert json.loads((tmp_path / "forked" / "vicur.json").read_text())["forked_from"] == place
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["step-000005", "step-000006"]
