"""State and display of a run's steps, from their events."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from vicur_pipelines import live, progress
from vicur_pipelines.live import LiveView, PlainView, progress_text, view_of
from vicur_pipelines.progress import Progress, duration

from vicur.config.run import RunConfig
from vicur.stage.events import Event
from vicur.stage.table import step_labels


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "now", lambda: 130.0)
    monkeypatch.setattr(progress, "now", lambda: 130.0)


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, legacy_windows=False)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


STARTED = Event(stage="train vicur", status="started", time=100.0)
HALF_WAY = [
    Event(stage="train vicur", status="progress", time=110.0, done=20, total=100, text="accuracy 0.61"),
    Event(stage="train vicur", status="progress", time=130.0, done=60, total=100, text="accuracy 0.70"),
]
FINISHED = Event(stage="train vicur", status="finished", time=150.0, seconds=50.0, text="0.62 -> 0.72")


def test_the_steps_of_a_run_are_known_before_it_starts() -> None:
    steps = step_labels(RunConfig(methods=("vicur",)))
    assert steps == [
        "prepare",
        "extract",
        "base",
        "evaluate base",
        "train vicur",
        "evaluate vicur",
        "compare",
        "register",
    ]


def test_a_step_is_pending_then_running_then_finished() -> None:
    run = Progress(["train vicur"])
    assert run["train vicur"].state == "pending"
    assert run["train vicur"].elapsed(130.0) is None
    assert [step.state for step in run.apply([STARTED])] == ["running"]
    assert run["train vicur"].elapsed(130.0) == 30.0
    assert run.apply(HALF_WAY) == []
    assert run["train vicur"].remaining(130.0) == pytest.approx(20.0)
    run.apply([FINISHED])
    assert run["train vicur"].elapsed(999.0) == 50.0
    assert run["train vicur"].text == "0.62 -> 0.72"


def test_a_stage_that_counts_something_else_gets_a_new_pace() -> None:
    run = Progress(["base"])
    run.apply([Event(stage="base", status="progress", time=t, done=d, total=10) for t, d in ((0, 1), (90, 10))])
    run.apply([Event(stage="base", status="progress", time=100, done=1, total=50)])
    assert run["base"].remaining(100) is None
    run.apply([Event(stage="base", status="progress", time=102, done=3, total=50)])
    assert run["base"].remaining(102) == pytest.approx(47.0)


def test_a_retried_step_runs_again() -> None:
    run = Progress(["base"])
    run.apply([Event(stage="base", status="failed", time=1, text="reset by peer", seconds=1.0)])
    assert [step.name for step in run.failed] == ["base"]
    run.apply([Event(stage="base", status="started", time=2)])
    assert run.failed == []


def test_unexpected_steps_are_shown_only_if_they_fail() -> None:
    run = Progress(["base"])
    run.apply([Event(stage="outcome", status="finished", time=1)])
    assert [step.name for step in run.steps] == ["base"]
    run.apply([Event(stage="other", status="failed", time=1, text="why")])
    assert [step.name for step in run.steps] == ["base", "other"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (3723, "1:02:03")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_has_counts_remaining_time_and_text() -> None:
    run = Progress([])
    run.apply([STARTED, *HALF_WAY])
    assert progress_text(run["train vicur"]) == "60/100, 20 s left, accuracy 0.70"


def test_plain_lines_show_changes_and_occasionally_progress() -> None:
    shown = console()
    with view_of(Progress(["prepare", "train vicur"]), shown) as view:
        assert isinstance(view, PlainView)
        view.follow([STARTED])
        view.follow(HALF_WAY)
        view.follow(HALF_WAY)
        view.follow([FINISHED, Event(stage="prepare", status="reused", time=1, seconds=0.2, text="[6,450] examples")])
    assert text_of(shown).splitlines() == [
        "train vicur: running",
        "train vicur: finished (50 s): 0.62 -> 0.72",
        "prepare: reused (0.2 s): [6,450] examples",
    ]


def test_a_terminal_shows_one_line_per_step() -> None:
    shown = console(terminal=True)
    view = view_of(Progress(["prepare", "evaluate base", "train vicur", "register"]), shown)
    assert isinstance(view, LiveView)
    view.follow(
        [
            Event(stage="prepare", status="reused", time=1, seconds=0.2, text="6,450 examples"),
            Event(stage="evaluate base", status="failed", time=1, seconds=2, text="model: is torn.\nmore"),
            STARTED,
            *HALF_WAY,
        ]
    )
    plain = Console(file=io.StringIO(), width=100)
    plain.print(view._table())
    lines = [line.rstrip() for line in text_of(plain).splitlines()]
    assert lines[0] == "↻ prepare         0.2 s reused 6,450 examples"
    assert lines[1] == "✗ evaluate base   2.0 s model: is torn."
    assert lines[2].endswith("60/100, 20 s left, accuracy 0.70")
    assert " 30 s " in lines[2]
    assert lines[3].strip() == "· register"


def test_a_terminal_with_too_few_lines_counts_completed_and_pending_steps() -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=100, height=6)
    names = [f"train a.{n}" for n in range(50)]
    view = LiveView(Progress(names), shown)
    ended = [Event(stage=name, status="finished", time=1, seconds=1, text="done") for name in names[:10]]
    view.follow([*ended, Event(stage="train a.30", status="started", time=1)])
    plain = Console(file=io.StringIO(), width=100)
    plain.print(view._table())
    lines = [line.strip() for line in text_of(plain).splitlines()]
    assert lines[0] == "10 of 50 steps are completed, 39 are pending"
    assert [line.split()[2] for line in lines[1:]] == ["a.7", "a.8", "a.9", "a.30"]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    class Latin(io.StringIO):
        encoding = "latin-1"

    shown = Console(file=Latin(), force_terminal=True, width=80)
    view = LiveView(Progress(["prepare"]), shown)
    view.follow([Event(stage="prepare", status="finished", time=1, seconds=1, text="done")])
    plain = Console(file=io.StringIO(), width=80)
    plain.print(view._table())
    assert text_of(plain).startswith("+ prepare")
