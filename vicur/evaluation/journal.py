"""Responses on disk while an evaluation runs, so that one that is killed continues with the questions that have none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from vicur.modeling.generation import Response


@dataclass(frozen=True)
class Answered:
    """A response without its tokens."""

    text: str
    tokens: int
    finished: bool


class Journal:
    """The responses to a part's questions, one line per response. Lines are appended after each batch.

    A line that a kill cut off is ignored, together with everything behind it. The generation of a part continues with the batches that
    are missing, which have the same prompts as without the kill.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[int, Answered]:
        """Return the responses by the number of their question in the part."""
        found: dict[int, Answered] = {}
        if not self._path.is_file():
            return found
        whole = 0
        with self._path.open("rb") as lines:
            for line in lines:
                try:
                    number, text, tokens, finished = json.loads(line)
                    answered = Answered(str(text), int(tokens), bool(finished))
                except (ValueError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                found[int(number)] = answered
                whole += len(line)
        if whole < self._path.stat().st_size:
            with self._path.open("r+b") as file:
                file.truncate(whole)
        return found

    def add(self, responses: Mapping[int, Response]) -> None:
        """Append responses."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="ascii") as file:
            _write(responses, file)


def _write(responses: Mapping[int, Response], file: TextIO) -> None:
    # Escapes everything outside ASCII, lone surrogates as well.
    lines = (json.dumps([n, r.text, len(r.ids), r.finished]) for n, r in responses.items())
    file.write("".join(f"{line}\n" for line in lines))
