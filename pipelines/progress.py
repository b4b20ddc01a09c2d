"""State of a run's steps, updated from their events. Nothing is printed here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from vicur.stage.events import Event

State = Literal["pending", "running", "finished", "reused", "failed", "unknown"]


@dataclass
class Step:
    """State of one step."""

    name: str
    state: State = "pending"
    text: str = ""  # key figure, progress in words, or error
    done: int = 0  # units of work, if the stage counts them
    total: int = 0
    seconds: float | None = None  # duration, once it has ended
    began: float | None = None  # seconds since the epoch
    counting_since: tuple[float, int] | None = (
        None  # time and units done of the first progress event, to estimate the pace
    )
    output: str | None = None  # folder of the result
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "reused", "failed")

    def elapsed(self, now: float) -> float | None:
        """Return its duration so far in seconds, or ``None`` before it starts."""
        if self.seconds is not None:
            return self.seconds
        return None if self.began is None else max(0.0, now - self.began)

    def remaining(self, now: float) -> float | None:
        """Return the seconds that are left at the pace so far, or ``None`` if that is unknown."""
        if self.counting_since is None or self.total <= self.done:
            return None
        since, first = self.counting_since
        return (now - since) / (self.done - first) * (self.total - self.done) if self.done > first else None


class Progress:
    """State of all steps of a run, in reading order."""

    def __init__(self, names: list[str]) -> None:
        self._steps = {name: Step(name) for name in names}
        self._expected = set(names)

    @property
    def steps(self) -> list[Step]:
        """The expected steps, and any other that failed, such as the exit step."""
        return [step for step in self._steps.values() if step.name in self._expected or step.state == "failed"]

    def expect(self, name: str) -> None:
        """Add a step that is not among the initial ones. An existing step keeps its state."""
        self._expected.add(self[name].name)

    def __getitem__(self, name: str) -> Step:
        return self._steps.setdefault(name, Step(name))

    @property
    def failed(self) -> list[Step]:
        """Steps that failed."""
        return [step for step in self.steps if step.state == "failed"]

    def lose(self) -> list[str]:
        """Mark the running steps as ended in an unknown way, and return their names."""
        lost = [step for step in self.steps if step.state == "running"]
        for step in lost:
            step.state, step.text, step.total = "unknown", "its end was not reported", 0
        return [step.name for step in lost]

    def apply(self, events: list[Event]) -> list[Step]:
        """Apply new events and return the steps whose state changed."""
        changed = []
        for event in events:
            step = self[event.stage]
            before = step.state
            _apply(step, event)
            if step.state != before and step not in changed:
                changed.append(step)
        shown = self.steps
        return [step for step in changed if step in shown]


def _apply(step: Step, event: Event) -> None:
    step.text = event.text
    if event.status == "progress":
        done, total = event.done or 0, event.total or 0
        # A stage that starts counting something else, such as after a warm-up, has a new pace.
        if step.counting_since is None or total != step.total or done < step.done:
            step.counting_since = (event.time, done)
        step.done, step.total = done, total
        return
    if event.status == "started":
        step.state, step.began, step.seconds, step.counting_since = "running", event.time, None, None
        step.done = step.total = 0
        return
    step.state, step.seconds = event.status, event.seconds
    step.output = event.output
    step.summary = event.summary or {}


def duration(seconds: float) -> str:
    """Format a duration for people: 0.4 s, 12 s, 3:05, 1:02:03."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def now() -> float:
    """Return the current time on the clock of events."""
    return time.time()
