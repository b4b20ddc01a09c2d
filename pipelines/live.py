"""Shows a run while it goes on: a line a step on a terminal, plain lines where output goes to a file."""

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

_GLYPHS = {"pending": "·", "finished": "✓", "reused": "↻", "failed": "✗"}
_ASCII = {"pending": ".", "finished": "+", "reused": "=", "failed": "x"}
_STYLES = {"pending": "dim", "running": "bold", "finished": "green", "reused": "cyan", "failed": "bold red"}
_BAR_WIDTH = 24
_PLAIN_SECONDS = 15.0


class LiveView:
    """Redraws all steps in place."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._spinner = Spinner("dots" if _speaks_unicode(console) else "line")
        self._glyphs = _GLYPHS if _speaks_unicode(console) else _ASCII
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def follow(self, events: list[Event]) -> None:
        """Takes in new events."""
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
        """A row a step; where they are more than the terminal has lines, those that ended well and those to come are counted."""
        steps = self._progress.steps
        # One line for the count, one for the prompt below.
        room = self._console.height - 2
        if len(steps) <= room:
            return [self._row(step) for step in steps]
        well = [step for step in steps if step.state in ("finished", "reused")]
        pending = [step for step in steps if step.state == "pending"]
        others = [step for step in steps if step.state in ("running", "failed")]
        latest = well[len(well) - max(0, room - len(others)) :]
        count = Text(f"{len(well)} of {len(steps)} steps have ended well, {len(pending)} are to come", style="dim")
        return [(Text(), Text(), Text(), count), *(self._row(step) for step in [*latest, *others][:room])]

    def _row(self, step: Step) -> tuple[Text | Spinner, Text, Text, Text | Table]:
        style = _STYLES[step.state]
        glyph = self._spinner if step.state == "running" else Text(self._glyphs[step.state], style=style)
        elapsed = step.elapsed(now())
        time = Text("" if elapsed is None else duration(elapsed), style="dim")
        name = Text(step.name, style="" if step.state in ("finished", "reused") else style)
        return glyph, name, time, self._what(step)

    def _what(self, step: Step) -> Text | Table:
        if step.state == "reused":
            return Text.assemble(("reused ", "cyan"), _first_line(step.text))
        if step.state == "failed":
            return Text(_first_line(step.text), style="red")
        if step.state != "running" or not step.total:
            return Text(_first_line(step.text))
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=step.total, completed=step.done, width=_BAR_WIDTH), Text(progress_words(step)))
        return row


class PlainView:
    """Prints a line when a step's state changes, and now and then how far it is."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._told: dict[str, float] = {}

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def follow(self, events: list[Event]) -> None:
        """Takes in new events."""
        changed = self._progress.apply(events)
        for step in changed:
            took = f" ({duration(step.seconds)})" if step.seconds is not None else ""
            words = f": {_first_line(step.text)}" if step.text else ""
            self._print(step, f"{step.state}{took}{words}")
        for step in self._progress.steps:
            counts = step.state == "running" and step.total > 0
            if counts and now() - self._told.get(step.name, 0.0) > _PLAIN_SECONDS:
                self._print(step, progress_words(step))

    def _print(self, step: Step, words: str) -> None:
        self._told[step.name] = now()
        self._console.print(f"{step.name}: {words}", highlight=False, markup=False, soft_wrap=True)


def view_of(progress: Progress, console: Console) -> LiveView | PlainView:
    """The view that suits where the output goes."""
    return LiveView(progress, console) if console.is_terminal else PlainView(progress, console)


def progress_words(step: Step) -> str:
    """How far a step is: ``120/200, 31 s left, accuracy 0.71``."""
    remaining = step.remaining(now())
    left = "" if remaining is None else f", {duration(remaining)} left"
    text = _first_line(step.text)
    return f"{step.done}/{step.total}{left}" + (f", {text}" if text else "")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _speaks_unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")
