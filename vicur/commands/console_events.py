"""Shows the progress of one stage on the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vicur.events import Events, Status


class ConsoleEvents(Events):
    """Events that are drawn as a progress bar (on a terminal) and told as lines, instead of being written to a log.

    Use it as a context manager.
    """

    def __init__(self, stage: str) -> None:
        super().__init__(stage, None)
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
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
        """Shows an event. A failure is told by the command itself."""
        super().emit(status, text, **fields)
        if status == "progress":
            self._bar.update(
                self._task, completed=fields.get("done"), total=fields.get("total"), text=text, visible=True
            )
        elif status in ("finished", "reused"):
            words = f"{self.stage}: {'reused, ' if status == 'reused' else ''}{text}"
            self._console.print(words, highlight=False, markup=False, soft_wrap=True)
