"""Calls ``vicur`` in this process, as the console does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from vicur.cli import main


@dataclass(frozen=True)
class Result:
    """What a command said."""

    code: int
    output: str
    error: str


Command = Callable[..., Result]


def caller(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that takes the command's words and returns what it said."""

    def command(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["vicur", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        told = capfd.readouterr()
        return Result(int(caught.value.code or 0), told.out, told.err)

    return command
