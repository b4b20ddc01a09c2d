"""A stage runs once for the same work, completely or not at all, and resumes after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vicur.config.section import Section
from vicur.errors import VicurError
from vicur.processes.signals import StopFlag, stop_error
from vicur.stage.events import Event, Events, read_events
from vicur.stage.runner import Context, Session, Stage, Summary, execute, stage_identity, stage_key
from vicur.storage.folders import tree_sha256
from vicur.tracking.tracker import Tracker


class Settings(Section):
    text: str = "hello"


class TextSummary(Summary):
    length: int


class Calls:
    """A stage that writes its configured text, counts its calls, and raises ``error`` if that is set."""

    def __init__(self) -> None:
        self.made = 0
        self.error: BaseException | None = None

    def __call__(self, config: Settings, inputs: Mapping[str, Path], output: Path, context: Context) -> TextSummary:
        self.made += 1
        (output / "text").write_text(config.text + "".join(p.read_text() for p in inputs.values()))
        (context.work / "checkpoint").write_text("half way")
        if self.error is not None:
            raise self.error
        return TextSummary(key_figure=f"{len(config.text)} letters", metrics={"letters": 5.0}, length=len(config.text))


# The code version of a stage is that of its module, which must be one of vicur's.
Calls.__module__ = "vicur.seeds"


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def stage(calls: Calls) -> Stage[TextSummary]:
    return Stage("write", calls, TextSummary)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("VICUR_EVENTS", str(tmp_path / "events.jsonl"))
    return Session("run-1", 0, tmp_path / "cache", tmp_path / "scratch", lambda _: Tracker())


def recorded(tmp_path: Path) -> list[Event]:
    return read_events(tmp_path / "events.jsonl")[0]


def test_same_work_runs_once(tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session) -> None:
    first = execute(stage, Settings(), {}, tmp_path / "one", session)
    again = Events("write again", tmp_path / "events.jsonl")
    second = execute(stage, Settings(), {}, tmp_path / "two", session, events=again)
    assert calls.made == 1
    assert first == second == TextSummary(key_figure="5 letters", metrics={"letters": 5.0}, length=5)
    assert tree_sha256(tmp_path / "one") == tree_sha256(tmp_path / "two")
    assert [(e.stage, e.status) for e in recorded(tmp_path)] == [
        ("write", "started"),
        ("write", "finished"),
        ("write again", "reused"),
    ]
    last = recorded(tmp_path)[-1]
    assert last.output == str(tmp_path / "two")
    assert last.summary == second.model_dump(mode="json")


def key_of(*parts: Any) -> str:
    return stage_key(stage_identity(*parts))


def test_key_depends_on_configuration_inputs_seed_and_code_only(tmp_path: Path, stage: Stage[TextSummary]) -> None:
    file = tmp_path / "input"
    file.write_text("1")
    key = key_of(stage, Settings(), {"a": file}, 0, "code")
    assert key_of(stage, Settings(), {"a": file}, 0, "code") == key
    os.utime(file, (0, 0))
    assert key_of(stage, Settings(), {"a": file}, 0, "code") == key
    assert key_of(stage, Settings(text="other"), {"a": file}, 0, "code") != key
    assert key_of(stage, Settings(), {"a": file}, 1, "code") != key
    assert key_of(stage, Settings(), {"b": file}, 0, "code") != key
    assert key_of(stage, Settings(), {"a": file}, 0, "other code") != key
    assert key_of(replace(stage, name="read"), Settings(), {"a": file}, 0, "code") != key
    file.write_text("2")
    assert key_of(stage, Settings(), {"a": file}, 0, "code") != key


def test_stage_that_is_not_reusable_always_runs(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session
) -> None:
    always = replace(stage, reusable=False)
    execute(always, Settings(), {}, tmp_path / "out", session)
    execute(always, Settings(), {}, tmp_path / "out", session)
    assert calls.made == 2


def test_nothing_is_stored_without_a_cache(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session
) -> None:
    bare = replace(session, cache=None)
    execute(stage, Settings(), {}, tmp_path / "out", bare)
    execute(stage, Settings(), {}, tmp_path / "out", bare)
    assert calls.made == 2
    assert not (tmp_path / "cache").exists()


def test_fork_is_never_reused(tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session) -> None:
    execute(stage, Settings(), {}, tmp_path / "out", session)
    forked = replace(session, fork_from=str(tmp_path / "checkpoints"))
    for _ in range(2):
        execute(stage, Settings(), {}, tmp_path / "out", forked)
    assert calls.made == 3


@pytest.mark.parametrize("damage", ["edited in place", "a file is gone", "no record", "not a record", "old summary"])
def test_damaged_cache_entry_is_not_reused(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session, damage: str
) -> None:
    execute(stage, Settings(), {}, tmp_path / "out", session)
    (record,) = (tmp_path / "cache").rglob("entry.json")
    if damage == "edited in place":
        (tmp_path / "out" / "text").chmod(0o600)
        (tmp_path / "out" / "text").write_text("tampered with")
    elif damage == "a file is gone":
        (record.parent / "output" / "text").unlink()
    elif damage == "no record":
        record.unlink()
    elif damage == "not a record":
        record.write_text("{")
    else:
        record.write_text(record.read_text().replace('"length"', '"size"'))
    execute(stage, Settings(), {}, tmp_path / "out", session)
    assert calls.made == 2
    assert (tmp_path / "out" / "text").read_text() == "hello"
    execute(stage, Settings(), {}, tmp_path / "out", session)
    assert calls.made == 2


def test_failure_keeps_the_old_output_and_the_checkpoints(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session
) -> None:
    execute(stage, Settings(), {}, tmp_path / "out", session)
    calls.error = VicurError("is torn.", where="photo.png: row 3", remedy="Replace it.")
    with pytest.raises(VicurError, match="is torn"):
        execute(stage, Settings(text="changed"), {}, tmp_path / "out", session)
    assert (tmp_path / "out" / "text").read_text() == "hello"
    assert [p.read_text() for p in (tmp_path / "cache").rglob("*.work/checkpoint")] == ["half way"]
    last = recorded(tmp_path)[-1]
    assert (last.status, last.text, last.retryable) == ("failed", "photo.png: row 3: is torn. Replace it.", False)
    calls.error = None
    execute(stage, Settings(text="changed"), {}, tmp_path / "out", session)
    assert list((tmp_path / "cache").rglob("*.work")) == []


def test_unexpected_error_keeps_its_type_and_is_retryable(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session
) -> None:
    calls.error = ZeroDivisionError("division by zero")
    with pytest.raises(ZeroDivisionError):
        execute(stage, Settings(), {}, tmp_path / "out", session)
    last = recorded(tmp_path)[-1]
    assert (last.text, last.retryable) == ("ZeroDivisionError: division by zero", True)


def test_full_disk_is_reported(tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session) -> None:
    calls.error = OSError(28, "No space left on device", str(tmp_path / "out" / "text"))
    with pytest.raises(VicurError, match="No space left on device") as caught:
        execute(stage, Settings(), {}, tmp_path / "out", session)
    assert "disk" in caught.value.remedy


def test_unwritable_cache_is_reported(tmp_path: Path, stage: Stage[TextSummary], session: Session) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VicurError, match="file"):
        execute(stage, Settings(), {}, tmp_path / "out", replace(session, cache=tmp_path / "file" / "cache"))


def test_missing_input_fails_before_the_stage_runs(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session
) -> None:
    with pytest.raises(VicurError, match="does not exist"):
        execute(stage, Settings(), {"dataset": tmp_path / "nowhere"}, tmp_path / "out", session)
    assert calls.made == 0


def test_unreachable_tracker_fails_before_the_stage_runs(
    tmp_path: Path, stage: Stage[TextSummary], calls: Calls, session: Session
) -> None:
    def unreachable(_: str) -> Any:
        raise VicurError("MLflow does not answer.", where="http://localhost:5000", remedy="Start it.", retryable=True)

    with pytest.raises(VicurError, match="does not answer"):
        execute(stage, Settings(), {}, tmp_path / "out", replace(session, tracker=unreachable))
    assert calls.made == 0
    assert recorded(tmp_path)[-1].retryable is True


STAGE_SCRIPT = """
    import sys, time
    from pathlib import Path
    from vicur.stage.runner import Session, Stage, Summary, execute
    from vicur.config.section import Section
    from vicur.tracking.tracker import Tracker

    def work(config, inputs, output, context):
        done = context.work / "done"
        steps = int(done.read_text()) if done.exists() else 0
        print("from", steps, flush=True)
        while steps < 4:
            steps += 1
            done.write_text(str(steps))
            (output / "half").write_text("x")
            if steps == 3 and len(sys.argv) > 2:
                print("waiting", flush=True)
                time.sleep(60)
        (output / "text").write_text("whole")
        return Summary(key_figure="done")

    work.__module__ = "vicur.seeds"
    root = Path(sys.argv[1])
    session = Session("run-1", 0, root / "cache", root / "scratch", lambda label: Tracker())
    execute(Stage("work", work, Summary), Section(), {}, root / "out", session)
    print("end", flush=True)
"""


def test_killed_stage_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(STAGE_SCRIPT), str(tmp_path)]
    with subprocess.Popen([*command, "wait"], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert [killed.stdout.readline() for _ in range(2)] == ["from 0\n", "waiting\n"]
        killed.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert again.stdout == "from 3\nend\n", again.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["half", "text"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "out"]  # no leftover of the killed writer
    assert subprocess.run(command, capture_output=True, text=True, timeout=30).stdout == "end\n"


def test_second_of_two_concurrent_runs_waits_and_reuses(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(STAGE_SCRIPT).replace("sleep(60)", "sleep(1)"), str(tmp_path)]
    with subprocess.Popen([*command, "wait"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        second = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert first.stdout.read() == "waiting\nend\n"
    assert second.stdout == "end\n"


def test_a_stage_that_sigterm_stopped_is_not_logged_as_failed(
    tmp_path: Path, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupted(Calls):
        def __call__(self, *_: Any) -> TextSummary:
            with StopFlag():
                os.kill(os.getpid(), signal.SIGTERM)
            raise stop_error("stopped after SIGTERM at step 20, with a checkpoint of that step.")

    Interrupted.__module__ = "vicur.seeds"
    with caplog.at_level("INFO"), pytest.raises(VicurError):
        execute(Stage("write", Interrupted(), TextSummary), Settings(), {}, tmp_path / "one", session)
    assert "write: stopped training: stopped after SIGTERM at step 20" in caplog.text
    assert "write: failed" not in caplog.text
    assert (recorded(tmp_path)[-1].status, recorded(tmp_path)[-1].retryable) == ("failed", True)
