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

    Args:
        path: file of the part. Each process appends to a separate file next to it, and all read all of them.
        process: number of the process that writes.
    """

    def __init__(self, path: Path, process: int = 0) -> None:
        self._part = path
        self._path = self._of(str(process))

    def _of(self, process: str) -> Path:
        return self._part.with_name(f"{self._part.stem}.{process}.jsonl")

    def read(self) -> dict[int, Answered]:
        """Return the responses by the number of their question in the part."""
        found: dict[int, Answered] = {}
        for path in sorted(self._part.parent.glob(self._of("*").name)):
            responses, whole = _read(path)
            found |= responses
            # Another process may be writing its last line.
            if path == self._path and whole < path.stat().st_size:
                with path.open("r+b") as file:
                    file.truncate(whole)
        return found

    def add(self, responses: Mapping[int, Response]) -> None:
        """Append responses."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="ascii") as file:
            _write(responses, file)


def _read(path: Path) -> tuple[dict[int, Answered], int]:
    """Return the responses in the whole lines of a file, and the bytes of these lines."""
    found: dict[int, Answered] = {}
    whole = 0
    with path.open("rb") as lines:
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
    return found, whole


def _write(responses: Mapping[int, Response], file: TextIO) -> None:
    # Escapes everything outside ASCII, lone surrogates as well.
    lines = (json.dumps([n, r.text, len(r.ids), r.finished]) for n, r in responses.items())
    file.write("".join(f"{line}\n" for line in lines))
