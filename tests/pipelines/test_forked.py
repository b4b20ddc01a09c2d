"""Steps that are forked from a server with their libraries: isolation, exit codes, and when the server starts."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from vicur_components.compare.component import compare
from vicur_pipelines.forked import RUNTIME, ForkedSteps, component_command

from tests.forking import stop_server
from vicur.stage.events import Event

INPUT = json.dumps({"inputs": {}, "outputs": {"outputFile": "FOLDER/executor_output.json"}})
NOT_FORKED = 77


def command(body: str, folder: Path) -> list[str]:
    source = f"import json, os, signal, sys\ndef step():\n    {body}\n"
    script = "python3 -m kfp.dsl.executor_main"
    arguments = ["--executor_input", INPUT.replace("FOLDER", str(folder)), "--function_to_execute", "step"]
    return ["sh", "-ec", script, source, *arguments]


def begin(events: Path) -> None:
    event = Event(stage="prepare", status="started", time=0.0)
    events.write_text(event.model_dump_json(exclude_none=True) + "\n")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a function body in a fork of a server that has imported ``colorsys``, which nothing else imports."""
    deep = tmp_path / ("folder" * 20)  # a socket below it would have too long a path
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    begin(tmp_path / "events.jsonl")
    stop_server()
    steps = ForkedSteps(tmp_path / "events.jsonl", lambda *_: NOT_FORKED, preload=["kfp.dsl.executor_main", "colorsys"])
    steps.start()
    deadline = time.monotonic() + 30
    while steps.run(command("pass", tmp_path)) == NOT_FORKED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return lambda body, variables=None: steps.run(command(body, tmp_path), variables)


def test_a_step_runs_in_a_process_of_its_own_with_loaded_libraries(run: Callable[..., int], tmp_path: Path) -> None:
    file = tmp_path / "seen"
    body = f"open({str(file)!r}, 'a').write(json.dumps([os.getpid(), 'colorsys' in sys.modules, os.environ['STEP']]) + '\\n')"
    assert run(body, {"STEP": "one"}) == 0
    assert run(body, {"STEP": "two"}) == 0
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert first[1:] == [True, "one"]
    assert second[1:] == [True, "two"]
    assert first[0] != second[0]


def test_exit_codes_and_signals_of_a_step_are_reported_and_the_next_one_runs(run: Callable[..., int]) -> None:
    assert run("sys.exit(3)") == 3
    assert run("os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
    assert run("1 / 0") == 1
    assert run("os.kill(os.getpid(), signal.SIGINT)") == 1  # KeyboardInterrupt, which the server itself ignores
    run("sys.modules.clear()")
    assert run("pass") == 0


def test_exit_codes_of_concurrent_steps_are_not_lost(run: Callable[..., int]) -> None:
    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(lambda number: run(f"sys.exit({number % 2})"), range(60)))
    assert codes == [0, 1] * 30


def test_the_run_itself_can_still_import_the_compiler(run: Callable[..., int], tmp_path: Path) -> None:
    file = tmp_path / "runtime"
    assert run(f"open({str(file)!r}, 'w').write(os.environ[{RUNTIME!r}])") == 0
    assert file.read_text() == "true"
    assert RUNTIME not in os.environ


def test_steps_start_in_new_interpreters_while_no_step_works(tmp_path: Path) -> None:
    stop_server()
    steps = ForkedSteps(tmp_path / "events.jsonl", lambda *_: NOT_FORKED, preload=["kfp.dsl.executor_main"])
    steps.start()
    time.sleep(0.3)
    assert steps.run(command("pass", tmp_path)) == NOT_FORKED
    begin(tmp_path / "events.jsonl")
    deadline = time.monotonic() + 30
    while steps.run(command("pass", tmp_path)) == NOT_FORKED:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_source_and_arguments_are_found_in_the_command_of_a_component() -> None:
    container = compare.component_spec.implementation.container
    found = component_command([*container.command, *container.args])
    assert found is not None
    source, arguments = found
    assert "def compare(" in source
    assert arguments == ["--executor_input", "{{$}}", "--function_to_execute", "compare"]
    assert component_command(["sh", "-c", "echo hello", "x"]) is None
    assert component_command(["python3", "train.py"]) is None
