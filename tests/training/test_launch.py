"""The training stage in several processes: results, checkpoints that any number of processes can resume from, and failures."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.full_disk import full_disk
from tests.training.conftest import created_once, curves
from tests.training.train_once import SETTINGS, tracking, train_once
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE
from vicur.stage.events import read_events
from vicur.storage.s3 import S3Folders
from vicur.tracking.mlflow import connect
from vicur.training.checkpoint import CHECKSUMS
from vicur.training.workers.folder import WorkerFolder

pytestmark = pytest.mark.slow
# All checkpoints are kept, so that tests can resume from any of them.
KEPT = {**SETTINGS.model_dump(), "keep_checkpoints": 10, "batch_size": 4}
ONE = {"processes": 1}
LONG = {"steps": 100, "validate_every": 100, "checkpoint_every": 100}
DDP, FSDP = {"processes": 2}, {"processes": 2, "strategy": "fsdp"}


def training(distribution: dict, **settings: object) -> TrainConfig:
    return TrainConfig.model_validate({**KEPT, "distribution": distribution, **settings})


@pytest.fixture(scope="module")
def checkpoints(inputs, tmp_path_factory, new_root):
    """The checkpoints of one training in one process, and in two with each strategy."""
    kinds = {"one": ONE, "ddp": DDP, "fsdp": FSDP}

    def create(folder: Path) -> None:
        for name, distribution in kinds.items():
            root = new_root(folder / name)
            train_once(inputs, root, training(distribution), checkpoints=str(root / "kept"), mlflow=name == "ddp")

    folder = created_once(tmp_path_factory, "checkpoints", create)
    return {name: folder / name / "kept" for name in kinds}


def last(folder: Path) -> dict:
    return load_file(folder / f"step-{SETTINGS.steps:06d}" / "model.safetensors")


def assert_alike(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert weight.sub(other[name]).abs().max() < 1e-4, name
        assert weight.sub(other[name]).abs().mean() < 1e-7, name


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_learn_the_same_as_one(checkpoints, name):
    assert_alike(last(checkpoints[name]), last(checkpoints["one"]))
    students = [checkpoints[each].parent / "student" for each in ("one", name)]
    for expected, found in zip(*map(curves, students), strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    records = [json.loads((student / "vicur.json").read_text()) for student in students]
    assert [record["processes"] for record in records] == [1, 2]


def test_processes_agree_on_checkpoints_by_time(inputs, tmp_path, checkpoints):
    by_time = {"checkpoint_every": 100, "checkpoint_minutes": 1e-4}
    student = train_once(inputs, tmp_path, training(DDP, **by_time), checkpoints=str(tmp_path / "kept"))
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert len(kept) >= 2, "one by time, and the last"
    assert kept[-1] == f"step-{SETTINGS.steps:06d}"
    expected = checkpoints["ddp"].parent / "student" / "model.safetensors"
    assert (student / "model.safetensors").read_bytes() == expected.read_bytes()


@pytest.mark.parametrize(("written_by", "distribution"), [("ddp", ONE), ("fsdp", ONE), ("one", FSDP)])
def test_checkpoints_resume_with_another_number_of_processes(checkpoints, inputs, tmp_path, written_by, distribution):
    place = tmp_path / "kept"
    shutil.copytree(checkpoints[written_by], place)
    for late in place.glob("step-00000[456]"):
        shutil.rmtree(late)
    train_once(inputs, tmp_path / "on", training(distribution), checkpoints=str(place))
    assert_alike(last(place), last(checkpoints["one"]))


@pytest.mark.usefixtures("s3")
def test_two_processes_resume_from_s3_bit_for_bit(checkpoints, inputs, tmp_path):
    address = "s3://checkpoints/kept"
    place = S3Folders.at(address, CHECKSUMS)
    for name in (f"step-{step:06d}" for step in range(1, 4)):
        place.put(checkpoints["ddp"] / name, name)
    student = train_once(inputs, tmp_path / "fresh", training(DDP), checkpoints=address)
    place.get(f"step-{SETTINGS.steps:06d}", tmp_path / "downloaded")
    found, expected = load_file(tmp_path / "downloaded" / "model.safetensors"), last(checkpoints["ddp"])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert curves(student) == curves(checkpoints["ddp"].parent / "student")


def test_mlflow_has_each_step_once_in_one_run(checkpoints):
    client = connect(tracking(checkpoints["ddp"].parent))
    (run,) = client.search_runs(["1"], "tags.`vicur.stage` = 'train'")
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")]
    assert steps == list(range(1, SETTINGS.steps + 1))
    assert run.data.params["distribution.processes"] == "2"
    assert run.info.status == "FINISHED"
    record = json.loads((checkpoints["ddp"].parent / "student" / "vicur.json").read_text())
    assert record["mlflow_run_id"] == run.info.run_id


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def machine(rank: int, port: int, inputs: dict[str, Path], folder: Path, **settings: object) -> subprocess.Popen:
    """Start a process in the place of one of two machines, with its own folder."""
    folder.mkdir()
    section = training(ONE, **settings).model_dump(mode="json", exclude={"method"}, exclude_none=True)
    run = {"training": section, "tracking": {"uri": f"sqlite:///{folder.parent}/mlflow.db"}}
    (config := folder.parent / f"run{rank}.yaml").write_text(yaml.safe_dump(run))
    command = ["vicur", "train", "--output", "student", "--config", str(config), "--base", str(inputs["base"])]
    command += ["--dataset", str(inputs["dataset"]), "--cues", str(inputs["cues"]), "--checkpoints", "kept"]
    variables = {
        "PET_NNODES": "2",
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
    }
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, **variables, "TMPDIR": str(folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_machines_train_together(checkpoints, inputs, tmp_path):
    """The second machine's folder stays empty."""
    port = free_port()
    machines = [machine(rank, port, inputs, tmp_path / f"machine{rank}") for rank in range(2)]
    printed = [each.communicate(timeout=300)[0] for each in machines]
    assert [each.returncode for each in machines] == [0, 0], printed
    assert_alike(last(tmp_path / "machine0" / "kept"), last(checkpoints["one"]))
    assert json.loads((tmp_path / "machine0" / "student" / "vicur.json").read_text())["processes"] == 2
    assert list((tmp_path / "machine1").iterdir()) == []


def test_machines_with_different_settings_fail_with_the_difference(inputs, tmp_path):
    port = free_port()
    rates = (1e-3, 1e-4)
    machines = [
        machine(rank, port, inputs, tmp_path / f"machine{rank}", learning_rate=rate) for rank, rate in enumerate(rates)
    ]
    printed = [each.communicate(timeout=300)[0] for each in machines]
    assert [each.returncode for each in machines] == [2, 2], printed
    assert all("config.learning_rate: 0.001 there, 0.0001 here" in text.replace("\n", " ") for text in printed)
    assert not (tmp_path / "machine0" / "student").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_machine_waiting_for_others_can_be_stopped_and_leaves_no_process(inputs, tmp_path, number):
    process = machine(1, free_port(), inputs, tmp_path / "machine1")
    deadline = time.monotonic() + 120
    while not (waiting := torchruns(tmp_path)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == (EXIT_CODE if number == signal.SIGTERM else -number)
    while torchruns(tmp_path):
        assert time.monotonic() < deadline, waiting
        time.sleep(0.1)


def torchruns(root: Path) -> list[int]:
    """Return the ids of the torchrun processes of trainings below ``root``."""
    return [number for number, words in commands(root).items() if "vicur.processes.torchrun" in words]


def workers(root: Path) -> list[int]:
    """Return the ids of the worker processes of trainings below ``root``."""
    launchers = torchruns(root)
    found = commands(root).items()
    return [number for number, words in found if "vicur.training.workers.worker" in words and number not in launchers]


def commands(root: Path) -> dict[int, list[str]]:
    """Return the command lines that contain ``root``, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text(errors="replace")
        except OSError:
            continue
        if str(root) in line:
            found[int(folder.name)] = line.split("\0")
    return found


def test_error_of_a_worker_is_raised_as_in_one_process(inputs, tmp_path, capfd):
    with pytest.raises(VicurError, match="24 of 24 distillation examples cannot be used") as caught:
        train_once(inputs, tmp_path, training(DDP, max_prompt_tokens=1))
    assert caught.value.where == "training, method vicur"
    assert not caught.value.retryable
    assert not (tmp_path / "student").exists()
    assert "Traceback" not in (printed := capfd.readouterr().err)
    assert "cannot be used" not in printed, "the stage reports it"


def test_full_disk_in_a_worker_is_reported(inputs, tmp_path, capfd):
    with full_disk(1 << 18), pytest.raises(VicurError, match=r"step-000001.*File too large") as caught:
        train_once(inputs, tmp_path, training(DDP))
    assert (caught.value.exit_code, caught.value.retryable) == (2, False)
    assert "Traceback" not in capfd.readouterr().err
    assert workers(tmp_path) == []
    assert not (tmp_path / "student").exists()


def test_only_the_first_failure_is_recorded(tmp_path):
    folder = WorkerFolder(tmp_path)
    folder.clear()
    assert folder.reserve.stat().st_size > 0
    first, other = (VicurError(problem, remedy="Fix it.") for problem in ("no weights.", "lost a worker."))
    assert folder.fail(first)
    assert not folder.reserve.exists(), "frees space for the error on a full disk"
    assert folder.fail(first)
    assert not folder.fail(other)
    assert json.loads(folder.error.read_text())["problem"] == "no weights."


def start(inputs: dict[str, Path], root: Path, seen: Callable[[Path], object], **settings: object) -> subprocess.Popen:
    """Start a training in two processes below a new process, and return once ``seen(root)`` is true."""
    config = training(DDP, **settings)
    code = (
        "import json, sys; from pathlib import Path; from tests.training.train_once import train_and_exit;"
        "from vicur.config.training import TrainConfig; task = json.loads(sys.argv[1]);"
        "train_and_exit({n: Path(p) for n, p in task['inputs'].items()}, Path(task['root']),"
        "TrainConfig.model_validate(task['config']))"
    )
    task = {
        "inputs": {name: str(path) for name, path in inputs.items()},
        "root": str(root),
        "config": config.model_dump(mode="json"),
    }
    root.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(task)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while process.poll() is None and not seen(root):
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.001)
    return process


def made(root: Path) -> int:
    """Return the number of steps that the training has reported."""
    files = list(root.glob("cache/train/*.work/processes/events.jsonl"))
    return max((event.done or 0 for file in files for event in read_events(file)[0]), default=0)


def test_sigterm_stops_all_processes_after_the_step_and_one_process_resumes(inputs, tmp_path):
    root = tmp_path / "stopped"
    process = start(inputs, root, made, **LONG)
    os.kill(process.pid, signal.SIGTERM)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == EXIT_CODE, printed
    assert "ChildFailedError" not in printed
    (kept,) = root.glob("cache/train/*.work/step-*")
    assert 1 <= int(kept.name[-6:]) < LONG["steps"]
    assert workers(root) == []
    student = train_once(inputs, root, training(ONE, **LONG))
    assert [record["step"] for record in curves(student)] == list(range(LONG["steps"] + 1))


def test_killed_worker_fails_the_stage(inputs, tmp_path):
    root = tmp_path / "killed"
    process = start(inputs, root, made, **LONG)
    os.kill(max(workers(root)), signal.SIGKILL)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    assert workers(root) == []


def writing(root: Path) -> list[Path]:
    """Return checkpoints that are being written, except the first."""
    return list(root.glob("cache/train/*.work/.step-00000[2-9].*.partial"))


def test_worker_killed_while_writing_a_checkpoint_resumes_bit_for_bit(checkpoints, inputs, tmp_path):
    root, seen = tmp_path / "cut", []
    process = start(inputs, root, lambda root: seen.extend(writing(root)) or seen)
    # The name of a partial folder contains the id of its writer.
    os.kill(int(seen[0].name.split(".")[2].rpartition("-")[2]), signal.SIGKILL)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    assert "was killed by SIGKILL" in printed
    student, expected = train_once(inputs, root, training(DDP)), checkpoints["ddp"].parent / "student"
    assert (student / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    assert curves(student) == curves(expected)


def test_workers_end_with_a_killed_stage(inputs, tmp_path):
    root = tmp_path / "gone"
    process = start(inputs, root, made, **LONG)
    assert len(workers(root)) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while workers(root):
        assert time.monotonic() < deadline, "workers are still running"
        time.sleep(0.1)
