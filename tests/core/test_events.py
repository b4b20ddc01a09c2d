"""The event log: complete lines from concurrent processes, read incrementally."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from vicur.stage.events import Events, read_events


def test_reading_continues_at_the_returned_offset(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    events = Events("train vicur", path)
    events.emit("started")
    first, offset = read_events(path)
    events.emit("finished", "0.72", seconds=1.5, summary={"key_figure": "0.72"}, output="/somewhere")
    second, _ = read_events(path, offset)
    assert [(e.stage, e.status) for e in first + second] == [("train vicur", "started"), ("train vicur", "finished")]
    assert second[0].summary == {"key_figure": "0.72"}


def test_incomplete_line_is_read_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Events("s", path).emit("started")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    events, offset = read_events(path)
    assert len(events) == 1
    path.write_bytes(whole + whole)
    assert len(read_events(path, offset)[0]) == 1


def test_progress_is_throttled_except_for_the_last_step(tmp_path: Path) -> None:
    events = Events("s", tmp_path / "events.jsonl")
    for step in range(1, 1001):
        events.progress(step, 1000)
    recorded, _ = read_events(tmp_path / "events.jsonl")
    assert 2 <= len(recorded) < 50
    assert (recorded[-1].done, recorded[-1].total) == (1000, 1000)


def test_log_has_a_line_of_progress_every_ten_seconds_and_the_first_and_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("vicur.stage.events.time.monotonic", lambda: now)
    events = Events("train vicur", tmp_path / "events.jsonl")
    with caplog.at_level(logging.INFO, "vicur"):
        events.emit("started")
        for step in range(1, 101):
            events.progress(step, 500, f"loss {step}")
            now += 1.0
        # The training stops early.
        events.emit("finished", "accuracy 0.72")
    logged = [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]
    assert [record.message for record in caplog.records] == [
        "train vicur: started ",
        *(f"train vicur: progress {step}/500 loss {step}" for step in logged),
        "train vicur: finished accuracy 0.72",
    ]
    assert len(read_events(tmp_path / "events.jsonl")[0]) == 102, "the live view gets every step"


def test_lines_of_concurrent_processes_do_not_mix(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vicur.stage.events import Events\n"
        "e = Events(sys.argv[2], Path(sys.argv[1]))\n"
        "for n in range(300): e.emit('progress', 'x' * 9000, done=n, total=300)\n"
    )
    path = tmp_path / "events.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in ("a", "b", "c")]
    assert [w.wait() for w in writers] == [0, 0, 0]
    events, _ = read_events(path)
    for name in "abc":
        assert [e.done for e in events if e.stage == name] == list(range(300))


def test_event_file_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VICUR_EVENTS", raising=False)
    Events.from_environment("s").emit("started")
    monkeypatch.setenv("VICUR_EVENTS", str(tmp_path / "e.jsonl"))
    Events.from_environment("s").emit("started")
    assert len(read_events(tmp_path / "e.jsonl")[0]) == 1
