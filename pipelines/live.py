"""Show a run while it is running: one line per step on a terminal, plain lines if output goes to a file."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from vicur_pipelines.progress import Progress, Step, duration, now

from vicur.stage.events import Event

_GLYPHS = {"pending": "·", "finished": "✓", "reused": "↻", "failed": "✗", "unknown": "?"}
_ASCII = {"pending": ".", "finished": "+", "reused": "=", "failed": "x", "unknown": "?"}
_STYLES = {
    "pending": "dim",
    "running": "bold",
    "finished": "green",
    "reused": "cyan",
    "failed": "bold red",
    "unknown": "yellow",
}
_BAR_WIDTH = 24
_PLAIN_SECONDS = 15.0


class LiveView:
    """A table of all steps that is redrawn in place."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._spinner = Spinner("dots" if _has_unicode(console) else "line")
        self._glyphs = _GLYPHS if _has_unicode(console) else _ASCII
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def follow(self, events: list[Event]) -> None:
        """Apply new events."""
        self._progress.apply(events)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True, min_width=7)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for row in self._rows():
            table.add_row(*row)
        return table

    def _rows(self) -> list[tuple[Text | Spinner, Text, Text, Text | Table]]:
        """Return one row per step. If the terminal has too few lines, completed and pending steps are only counted."""
        steps = self._progress.steps
        # One line for the counts, one for the prompt below.
        height = self._console.height - 2
        if len(steps) <= height:
            return [self._row(step) for step in steps]
        completed = [step for step in steps if step.state in ("finished", "reused")]
        pending = [step for step in steps if step.state == "pending"]
        others = [step for step in steps if step.state in ("running", "failed", "unknown")]
        latest = completed[len(completed) - max(0, height - len(others)) :]
        count = Text(f"{len(completed)} of {len(steps)} steps are completed, {len(pending)} are pending", style="dim")
        return [(Text(), Text(), Text(), count), *(self._row(step) for step in [*latest, *others][:height])]

    def _row(self, step: Step) -> tuple[Text | Spinner, Text, Text, Text | Table]:
        style = _STYLES[step.state]
        glyph = self._spinner if step.state == "running" else Text(self._glyphs[step.state], style=style)
        elapsed = step.elapsed(now())
        time = Text("" if elapsed is None else duration(elapsed), style="dim")
        name = Text(step.name, style="" if step.state in ("finished", "reused") else style)
        return glyph, name, time, self._details(step)

    def _details(self, step: Step) -> Text | Table:
        if step.state == "reused":
            return Text.assemble(("reused ", "cyan"), _first_line(step.text))
        if step.state == "failed":
            return Text(_first_line(step.text), style="red")
        if step.state != "running" or not step.total:
            return Text(_first_line(step.text))
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=step.total, completed=step.done, width=_BAR_WIDTH), Text(progress_text(step)))
        return row


class PlainView:
    """Prints a line when the state of a step changes, and its progress from time to time."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._printed_at: dict[str, float] = {}

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def follow(self, events: list[Event]) -> None:
        """Apply new events."""
        changed = self._progress.apply(events)
        for step in changed:
            took = f" ({duration(step.seconds)})" if step.seconds is not None else ""
            text = f": {_first_line(step.text)}" if step.text else ""
            self._print(step, f"{step.state}{took}{text}")
        for step in self._progress.steps:
            counts = step.state == "running" and step.total > 0
            if counts and now() - self._printed_at.get(step.name, 0.0) > _PLAIN_SECONDS:
                self._print(step, progress_text(step))

    def _print(self, step: Step, text: str) -> None:
        self._printed_at[step.name] = now()
        self._console.print(f"{step.name}: {text}", highlight=False, markup=False, soft_wrap=True)


def view_of(progress: Progress, console: Console) -> LiveView | PlainView:
    """Return the view for a console: live on a terminal, otherwise plain."""
    return LiveView(progress, console) if console.is_terminal else PlainView(progress, console)


def progress_text(step: Step) -> str:
    """Return the progress of a step: ``120/200, 31 s left, accuracy 0.71``."""
    remaining = step.remaining(now())
    left = "" if remaining is None else f", {duration(remaining)} left"
    text = _first_line(step.text)
    return f"{step.done}/{step.total}{left}" + (f", {text}" if text else "")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _has_unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")
