"""A training survives what happens to its process: killed anywhere, told to stop, or started again elsewhere."""

import json
import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.training.conftest import curves
from tests.training.train_once import SETTINGS, tracking, train_and_exit, train_once
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE
from vicur.stage.runner import Session, execute
from vicur.tracking.mlflow import connect
from vicur.tracking.tracker import Tracker
from vicur.training import TRAIN

KILLS = 20


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    """Starts a training as a process of its own. It is forked from one that has imported what it needs: a life begins at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.train_once", "mlflow"])

    def begin(*args: object, **kwargs: object) -> BaseProcess:
        process = context.Process(target=train_and_exit, args=args, kwargs=kwargs)
        process.start()
        return process

    return begin


def kill(process: BaseProcess) -> bool:
    """Kills a process, and says whether it was still at work."""
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def wait(process: BaseProcess, root: Path, pattern: str) -> None:
    """Waits until there is such a path below ``root``, or the process is through."""
    deadline = time.monotonic() + 300
    while process.exitcode is None and not list(root.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} came"
        time.sleep(0.001)


def wait_until_it_takes(number: signal.Signals, process: BaseProcess) -> None:
    """Waits until the process has a handler for a signal."""
    deadline = time.monotonic() + 300
    while True:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        if int(caught, 16) >> (number - 1) & 1:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_training_killed_at_any_moment_ends_bit_for_bit_the_same(uninterrupted, inputs, tmp_path, start):
    """Twenty lives, each cut off at a moment that the seed drew: some time after a checkpoint, or while one is written."""
    drawn = random.Random(0)  # noqa: S311
    killed = written = number = 0
    while killed < KILLS:
        root = tmp_path / str(number)
        root.mkdir()
        number += 1
        while killed < KILLS and not (root / "student").exists():
            process = start(inputs, root, mlflow=True)
            step = drawn.randint(0, SETTINGS.steps - 1)
            if drawn.random() < 0.4:
                wait(process, root, f"cache/train/*.work/.step-*{step + 1}.*.partial/*")
                time.sleep(drawn.random() * 0.01)
            else:
                wait(process, root, f"cache/train/*.work/step-{step:06d}" if step else "cache/train/*.work")
                time.sleep(drawn.random() * 0.2)
            if kill(process):
                killed += 1
                written += bool(list(root.glob("cache/train/*.work/.step-*.partial")))
        student = train_once(inputs, root, mlflow=True)
        assert (student / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
        assert curves(student) == curves(uninterrupted)
        assert_tracked_once(root)
    assert written > 0


def assert_tracked_once(root: Path) -> None:
    """One MLflow run holds each step of the training once."""
    client = connect(tracking(root))
    (run,) = client.search_runs(["1"], "tags.`vicur.stage` = 'train'")
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(1, SETTINGS.steps + 1))
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "validation_accuracy")]
    assert steps == [0, 2, 4, 6]


def test_sigterm_finishes_the_step_keeps_it_and_says_that_it_can_go_on(inputs, tmp_path, start):
    long = {"steps": 40, "checkpoint_every": 100, "validate_every": 10, "patience": 100}
    settings = TrainConfig.model_validate({**SETTINGS.model_dump(), **long})
    process = start(inputs, tmp_path / "told", settings)
    wait_until_it_takes(signal.SIGTERM, process)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    stopped = list(tmp_path.glob("told/cache/train/*.work/step-*"))
    assert process.exitcode == EXIT_CODE
    assert len(stopped) == 1
    assert 1 <= int(stopped[0].name[-6:]) < settings.steps
    student, whole = train_once(inputs, tmp_path / "told", settings), train_once(inputs, tmp_path / "left", settings)
    assert (student / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert curves(student) == curves(whole)
    tracked = [json.loads(line) for line in (tmp_path / "told" / "tracked.jsonl").read_text().splitlines()]
    assert [record["step"] for record in tracked if "loss" in record] == list(range(1, settings.steps + 1))


def test_a_training_goes_on_elsewhere_from_checkpoints_that_it_kept_there(uninterrupted, inputs, tmp_path, start):
    place = str(tmp_path / "shared")
    process = start(inputs, tmp_path / "here", checkpoints=place)
    wait(process, tmp_path, "shared/step-000002")
    assert kill(process)
    student = train_once(inputs, tmp_path / "there", checkpoints=place)
    assert (student / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()


def test_other_settings_do_not_go_on_from_a_trainings_checkpoints_unless_forked(inputs, tmp_path):
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
