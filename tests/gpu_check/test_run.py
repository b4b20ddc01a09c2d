"""Checks run in processes of their own, and what a machine cannot do is never reported as passed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vicur.config.base import BaseModelConfig
from vicur.errors import VicurError
from vicur.gpu_check import Options, Report, Result, page_of, processes, record_of, run, run_checks
from vicur.gpu_check.case import Case
from vicur.gpu_check.machine import Machine
from vicur.gpu_check.measurement import Measurement, calibration_of, judged
from vicur.modeling.chat import Chat
from vicur.planning.calibration import Calibration

CPU = Machine("cpu", "Test CPU", 0, 0, 0.02, "measured", "torch")
H200 = Machine("cuda", "NVIDIA <H200>", 1, 141 * 2**30, 989.0, "data sheet", "torch")
VALUES = {
    "shape": "2b",
    "processes": 1,
    "seconds": {"rollout": 30.0, "teacher": 1.0, "update": 5.0},
    "step": 36.0,
    "tokens_per_second": 227.6,
    "operations": {"vision": 0.0, "rollout": 1e13, "teacher": 2e13, "forward": 3e13, "backward": 6e13, "loss": 0.0},
    "update_operations": 1.2e14,
    "decode_step_ms": 29.3,
    "peaks": {"load": 2**30, "update": 40 * 2**30},
    "planned": {"load": 2**30, "update": 42 * 2**30},
}


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that replaces the process of the checks by a script, which gets the task and the file of results."""

    def replace(body: str) -> None:
        script = tmp_path / "worker.py"
        script.write_text(f"import json, os, signal, sys, time\ntask = json.load(open(sys.argv[1]))\n{body}")
        start = processes.subprocess.Popen

        def popen(command: list[str], **kwargs: object) -> object:
            return start([command[0], str(script), *command[-2:]], **kwargs)

        monkeypatch.setattr(processes.subprocess, "Popen", popen)

    return replace


WRITE = """
def write(name, status="passed"):
    with open(sys.argv[2], "a") as file:
        file.write(json.dumps({"name": name, "status": status, "detail": "d", "took": 1.0}) + "\\n")
"""


def statuses(options: Options) -> dict[str, tuple[str, str]]:
    return {result.name: (result.status, result.detail) for result in run_checks(options).results}


def test_a_process_that_dies_loses_one_check_only(worker: Callable[[str], None]) -> None:
    worker(
        f"""{WRITE}
for name in task["checks"]:
    if name == "ddp":
        print("device-side assert", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    write(name)
"""
    )
    found = statuses(Options("cpu", (), only=("bf16", "ddp", "resume")))
    assert found == {
        "bf16": ("passed", "d"),
        "ddp": ("failed", "its process was killed by SIGKILL: device-side assert"),
        "resume": ("passed", "d"),
    }


def test_checks_beyond_the_time_limit_are_not_checked_and_their_process_is_ended(
    worker: Callable[[str], None], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    worker(f"{WRITE}\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nwrite(task['checks'][0])\ntime.sleep(60)")
    found = statuses(Options("cpu", (), only=("bf16", "ddp"), seconds=5.0))
    assert found == {"bf16": ("passed", "d"), "ddp": ("not checked", "the time was up")}
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGTERM)


def test_a_failure_of_one_process_ends_the_others_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "WORKER", "tests.gpu_check.worker_that_fails")
    deadline = time.monotonic() + 120
    [found] = processes.in_processes(["bf16"], {"device": "cpu"}, tmp_path, deadline, processes=2)
    assert (found["status"], found["detail"]) == ("failed", "process 1: RuntimeError: no memory here")
    assert time.monotonic() < deadline


def test_processes_end_with_the_command_that_started_them(tmp_path: Path) -> None:
    worker = tmp_path / "waiting.py"
    worker.write_text(
        "import json, os, sys, time, pathlib\n"
        "from vicur.processes.lifeline import watch\n"
        "task = json.load(open(sys.argv[1]))\n"
        "watch(pathlib.Path(task['lifeline']), lambda: os._exit(1))\n"
        f"open({str(tmp_path)!r} + '/pid', 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    code = (
        "import time; from pathlib import Path; from vicur.gpu_check import processes; processes.WORKER = 'waiting'; "
        f"list(processes.in_processes(['ddp'], {{}}, Path({str(tmp_path / 'work')!r}), time.monotonic() + 600))"
    )
    command = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)})
    pid = int(_until(lambda: (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""))
    command.kill()
    command.wait()
    assert _until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def test_weights_that_cannot_be_built_are_a_failed_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "save_random", full)
    [(status, detail)] = statuses(Options("cpu", ("tiny",), only=("measure",))).values()
    assert (status, "No space left on device" in detail) == ("failed", True)


def test_a_gpu_without_room_for_the_weights_leaves_them_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.torch.cuda, "mem_get_info", lambda: (10 * 2**30, 80 * 2**30))
    assert [run._device_for(size * 2**30, "cuda") for size in (4, 20)] == ["cuda", "cpu"]
    assert run._device_for(20 * 2**30, "cpu") == "cpu"


def test_a_measurement_has_all_its_rows_or_fails() -> None:
    chat = Chat.load(BaseModelConfig().folder)
    case = Case(shape="tiny", folder=BaseModelConfig().folder, device="cpu", prompt=120, image=16, rows=4)
    assert [len(row.teacher.ids) for row in case.examples(chat, 3)] == [120] * 3
    with pytest.raises(AssertionError, match="no room"):
        case.model_copy(update={"prompt": 20}).examples(chat, 3)


def test_a_published_size_is_not_measured_on_a_cpu() -> None:
    assert statuses(Options("cpu", ("2b",), only=("measure",))) == {"measure-2b": ("not checked", "needs a GPU")}


@pytest.mark.parametrize(("option", "options"), [("--only", {"only": ("bf17",)}), ("--shape", {"shapes": ("9b",)})])
def test_unknown_checks_and_shapes_are_refused(option: str, options: dict) -> None:
    with pytest.raises(VicurError) as caught:
        run_checks(Options("cpu", **{"shapes": (), **options}))
    assert caught.value.where == option


@pytest.mark.parametrize(
    ("outcomes", "passed"),
    [(["passed", "not checked"], True), (["passed", "failed"], False), (["not checked"], False)],
)
def test_a_machine_passes_if_no_check_failed_and_one_passed(outcomes: list, passed: bool) -> None:
    results = [Result("bf16", "t", status, "d") for status in outcomes]
    assert Report(CPU, results, [], None, 1.0).passed is passed


def test_a_measurement_gives_mfu_and_the_speeds_of_plans() -> None:
    measurement = Measurement.of(VALUES, H200)
    assert measurement.mfu == pytest.approx(1.2e14 / 36 / 989e12)
    assert measurement.utilisation == pytest.approx(1.2e14 / 5 / 989e12)
    calibration = Calibration.model_validate(calibration_of([measurement], H200))
    assert (calibration.device, calibration.decode_overhead_ms) == ("NVIDIA <H200>", 29.3)
    assert calibration_of([], H200) is None


@pytest.mark.parametrize(("peak", "status"), [(40, "passed"), (46, "passed"), (47, "failed")])
def test_a_peak_above_its_plan_and_what_that_leaves_free_fails(peak: int, status: str) -> None:
    values = {**VALUES, "peaks": {"load": 2**30, "update": peak * 2**30}}
    assert judged(Measurement.of(values, H200))[0] == status


def test_the_page_is_self_contained_and_shows_every_outcome() -> None:
    results = [
        Result("bf16", "bf16 agrees", "passed", "fine"),
        Result("ddp", "DDP agrees", "failed", "<script>alert(1)</script>"),
        Result("vllm", "vLLM", "not checked", "vLLM is not installed"),
    ]
    report = Report(H200, results, [Measurement.of(VALUES, H200)], None, 61.0)
    page = page_of(report)
    for words in (
        "NVIDIA &lt;H200&gt;",
        "Checks: 1 passed, 1 failed, 1 not checked",
        "vLLM is not installed",
        "40.000",
        "42.000",
    ):
        assert words in page
    for forbidden in ("<script", "http:", "https:", "src="):
        assert forbidden not in page
    assert json.loads(json.dumps(record_of(report)))["passed"] is False


@pytest.mark.slow
def test_distribution_and_resuming_are_checked_on_a_cpu() -> None:
    found = statuses(Options("cpu", (), only=("ddp", "fsdp", "resume"), seconds=500))
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(("ddp", "fsdp", "resume"), "passed")
