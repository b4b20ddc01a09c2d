"""Progress of a single stage on the terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vicur.stage.events import Events, Status

_SECONDS = 10.0
"""Minimum time between two progress lines."""


class ConsoleEvents(Events):
    """Context manager that shows events as a progress bar on a terminal and as lines in any other output."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage, None)
        self._console = Console(stderr=True)
        self._next_line = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            # In a log, a bar would be a line for each update.
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=None, text="", visible=False)

    def __enter__(self) -> ConsoleEvents:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def emit(self, status: Status, text: str = "", **fields: Any) -> None:
        """Show an event."""
        # A failure is not shown here: the command prints the error itself.
        super().emit(status, text, **fields)
        if status == "progress":
            self._show_progress(text, **fields)
        elif status in ("finished", "reused"):
            self._say(f"{self.stage}: {'reused, ' if status == 'reused' else ''}{text}")

    def _show_progress(self, text: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=total, text=text, visible=True)
        elif done == total or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _SECONDS
            self._say(f"{self.stage}: {done}/{total} {text}".rstrip())

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
