"""Run ``vicur`` in this process, as a shell would."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from vicur.cli import main


@dataclass(frozen=True)
class Result:
    """Exit status and output of a command."""

    code: int
    output: str
    error: str


Command = Callable[..., Result]


def caller(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command with the given arguments."""

    def command(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["vicur", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capfd.readouterr()
        return Result(int(caught.value.code or 0), captured.out, captured.err)

    return command
