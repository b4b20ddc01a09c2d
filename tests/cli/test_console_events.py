"""Progress of a stage in an output that is not a terminal, such as a container's log."""

from __future__ import annotations

import pytest

from vicur.commands import console_events
from vicur.commands.console_events import ConsoleEvents


def test_without_a_terminal_progress_is_printed_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(console_events.time, "monotonic", lambda: now)
    with ConsoleEvents("train") as events:
        for step in range(1, 61):
            now += 1.0
            events.emit("progress", f"loss {step}", done=step, total=60)
        events.emit("finished", "60 steps")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [*(f"train: {step}/60 loss {step}" for step in (1, 11, 21, 31, 41, 51, 60)), "train: 60 steps"]
