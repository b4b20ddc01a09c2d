"""Labelled cues, written by hand in a compact notation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def rows(name: str) -> list[dict[str, Any]]:
    """Read ``<name>.txt`` as rows for ``vicur cues audit --labels``.

    An item has a source (``S:``), question (``Q:``), answer (``A:``), choices (``C:``), text in the image (``T:``) and evidence (``E:``).
    Below it, ``= labels`` begins a group of cues with these labels, one a line; ``\\n`` is a line break.
    """
    found: list[dict[str, Any]] = []
    item: dict[str, Any] = {}
    labels: set[str] = set()
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("\n"):
        key, _, value = line.partition(":")
        if line.startswith("S:"):
            item, labels = {"source": value.strip(), "choices": [], "image_text": "", "evidence": []}, set()
        elif line.startswith("= "):
            labels = {
                {"answer": "answer_leak", "solution": "solution_leak"}.get(each, each) for each in line[2:].split()
            }
        elif labels and line:
            found.append(item | {"cue": line.replace("\\n", "\n"), **{label: label in labels for label in LABELS}})
        elif line:
            item[FIELDS[key]] = _value(key, value.strip())
    return found


LABELS = ("answer_leak", "solution_leak", "ungrounded", "injected", "unusable")
FIELDS = {"Q": "question", "A": "answer", "C": "choices", "T": "image_text", "E": "evidence"}


def _value(key: str, text: str) -> Any:
    if key == "C":
        return [each.strip() for each in text.split("|")]
    if key == "E":
        pairs = (each.split("=") for each in text.split(";"))
        return [{"subject": subject.strip(), "value": _scalar(value.strip())} for subject, value in pairs]
    return text


def _scalar(text: str) -> Any:
    return int(text) if text.isdigit() else text
