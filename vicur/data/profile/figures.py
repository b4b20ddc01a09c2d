"""Compute the figures of a profile from a dataset folder: of all examples, in one pass over each shard that decodes no image."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vicur.data.dataset import SKIPPED, read_manifest
from vicur.data.hygiene.findings import Findings, read_findings
from vicur.data.images import UnusableImageError, plain_size
from vicur.data.prompt_budget import least_tokens
from vicur.data.schema import Example
from vicur.data.shards import read_shard
from vicur.data.stored import StoredSplit
from vicur.processes.workers import Report, default_processes, run_tasks

SAMPLES = 6
"""Samples of each split on the page."""
# Fewer examples are counted sooner by one process than others take to start.
_ROWS_PER_PROCESS = 20_000
_TOP = 12  # most frequent answers and kinds
_REJECTED = 20  # skipped rows on the page, unless there are more reasons
_REASONS = 48  # that are counted by themselves
_SIDES = (64, 128, 256, 512, 1024, 2048, 4096)
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 4096)
_COUNTERS = ("types", "answers", "kinds", "lengths", "images", "sides")
_NUMBER = re.compile(r"\W?[+\-−]?[\d.,]+\s*(?:%|°|[a-zA-Z]{1,3}[²³]?)?")


@dataclass
class SplitProfile:
    """Figures of one split."""

    examples: int
    choices: int = 0  # examples with choices
    types: Counter[str] = field(default_factory=Counter)  # of answers
    answers: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    lengths: Counter[str] = field(default_factory=Counter)  # tokens of question and choices, at least
    images: Counter[str] = field(default_factory=Counter)  # images per example
    sides: Counter[str] = field(default_factory=Counter)  # longer side in pixels
    samples: list[Example] = field(default_factory=list)

    def add(self, figures: Mapping[str, Any]) -> None:
        """Add the figures of some of its examples (:func:`shard_figures`)."""
        self.choices += figures["choices"]
        for name in _COUNTERS:
            getattr(self, name).update(figures[name])

    @property
    def commonest_share(self) -> float:
        """Share of the most frequent answer, which a model reaches that always gives it."""
        return max(self.answers.values(), default=0) / max(1, self.examples)


@dataclass
class Profile:
    """Figures of a dataset."""

    splits: dict[str, SplitProfile]
    skipped: int
    reasons: Counter[str]  # skipped rows by field and reason, without the particulars
    rejected: list[dict[str, str]]  # the first skipped row of each reason, then others
    findings: Findings | None


def profile_of(folder: Path, processes: int | None = None) -> Profile:
    """Compute the profile of a prepared dataset, its shards by several processes (``None``: by the CPUs).

    Raises:
        VicurError: if the folder is not a dataset, or is damaged.
    """
    manifest = read_manifest(folder)
    splits = {split: SplitProfile(count) for split, count in manifest.examples.items()}
    processes = min(processes or default_processes(), max(1, sum(manifest.examples.values()) // _ROWS_PER_PROCESS))
    tasks = [{"file": str(folder / shard.file), "split": shard.split} for shard in manifest.shards]
    found: dict[int, Any] = dict(run_tasks(shard_figures, tasks, processes))
    # In the order of the shards, so that names that are equally frequent have one order for any number of processes.
    for number, task in enumerate(tasks):
        splits[task["split"]].add(found.pop(number))
    for split, profile in splits.items():
        profile.samples = _samples(folder, split)
        profile.answers = Counter(dict(profile.answers.most_common(_TOP)))
    reasons, rejected = _skipped(folder / SKIPPED)
    return Profile(splits, manifest.skipped, reasons, rejected, read_findings(folder))


def bins(edges: tuple[int, ...]) -> list[str]:
    """Return the names of the bins between edges, in ascending order."""
    return [f"up to {edge:,}" for edge in edges] + [f"above {edges[-1]:,}"]


SIDE_BINS, LENGTH_BINS = bins(_SIDES), bins(_LENGTHS)


def shard_figures(task: dict[str, str], report: Report) -> dict[str, Any]:
    """Return the figures of the examples of one shard as JSON."""
    figures = SplitProfile(0)
    for number, example in enumerate(read_shard(Path(task["file"])), start=1):
        figures.choices += bool(example.choices)
        figures.types[_answer_type(example)] += 1
        figures.answers[example.answer[:80]] += 1
        figures.lengths[_bin(sum(map(least_tokens, (example.question, *example.choices))), _LENGTHS, LENGTH_BINS)] += 1
        figures.kinds[example.kind] += 1
        figures.images["video" if example.video is not None else str(len(example.images))] += 1
        # The frames of a video have one size.
        for image in example.images[: example.visuals]:
            figures.sides[_bin(_side(image), _SIDES, SIDE_BINS)] += 1
        report(number)
    return {"choices": figures.choices} | {name: getattr(figures, name) for name in _COUNTERS}


def _samples(folder: Path, split: str) -> list[Example]:
    examples = StoredSplit(folder, split, cache_bytes=0)
    return [examples[row] for row in range(0, len(examples), max(1, len(examples) // SAMPLES))[:SAMPLES]]


def _side(image: bytes) -> int:
    try:
        return max(plain_size(image))
    except UnusableImageError:
        return 0


def _bin(value: int, edges: tuple[int, ...], names: list[str]) -> str:
    return names[bisect_left(edges, value)]


def _answer_type(text: Example) -> str:
    if text.choices:
        return "choice"
    if text.answer.strip().casefold() in ("yes", "no", "true", "false"):
        return "yes or no"
    if _NUMBER.fullmatch(text.answer.strip()):
        return "number"
    if any(mark in text.answer for mark in "\\=^{"):
        return "formula"
    words = len(text.answer.split())
    return "one word" if words == 1 else "a few words" if words <= 5 else "a sentence"


def _skipped(path: Path) -> tuple[Counter[str], list[dict[str, str]]]:
    reasons: Counter[str] = Counter()
    first: list[dict[str, str]] = []
    others: list[dict[str, str]] = []
    if not path.is_file():
        return reasons, []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            shown = {
                name: str(row.get(name) or "")[:300] for name in ("id", "file", "row", "field", "reason", "remedy")
            }
            name = reason_name(shown["field"], shown["reason"])
            # A hostile source must not make the page as long as itself.
            if name not in reasons and len(reasons) >= _REASONS:
                name = "other reasons"
            if name not in reasons:
                first.append(shown)
            elif len(others) < _REJECTED:
                others.append(shown)
            reasons[name] += 1
    return reasons, first + others[: max(0, _REJECTED - len(first))]


def reason_name(field_name: str, reason: str) -> str:
    """Return a reason without its particulars: names in quotes and numbers."""
    general = re.sub(r"\d[\d,.]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "…", reason)).partition("(")[0].strip()
    return f"{field_name.partition('[')[0] or 'row'}: {general}"[:160]
