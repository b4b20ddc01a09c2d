"""Compute the figures of a profile from a dataset folder: of all examples, in one pass over the shards that decodes no image."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vicur.data.dataset import SKIPPED, read_manifest
from vicur.data.hygiene.findings import Findings, read_findings
from vicur.data.images import UnusableImageError, plain_size
from vicur.data.prompt_budget import least_tokens
from vicur.data.schema import Example
from vicur.data.shards import read_shard

SAMPLES = 6
"""Samples of each split on the page."""
_TOP = 12  # most frequent answers and kinds
_REJECTED = 20  # skipped rows on the page
_SIDES = (64, 128, 256, 512, 1024, 2048, 4096)
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 4096)
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


def profile_of(folder: Path) -> Profile:
    """Compute the profile of a prepared dataset.

    Raises:
        VicurError: if the folder is not a dataset, or is damaged.
    """
    manifest = read_manifest(folder)
    splits = {split: _split_profile(folder, split, count) for split, count in manifest.examples.items()}
    reasons, rejected = _skipped(folder / SKIPPED)
    return Profile(splits, manifest.skipped, reasons, rejected, read_findings(folder))


def bins(edges: tuple[int, ...]) -> list[str]:
    """Return the names of the bins between edges, in ascending order."""
    return [f"up to {edge:,}" for edge in edges] + [f"above {edges[-1]:,}"]


SIDE_BINS, LENGTH_BINS = bins(_SIDES), bins(_LENGTHS)


def _split_profile(folder: Path, split: str, count: int) -> SplitProfile:
    profile = SplitProfile(count)
    step = max(1, count // SAMPLES)
    for number, example in enumerate(_examples(folder, split)):
        profile.choices += bool(example.choices)
        profile.types[_answer_type(example)] += 1
        profile.answers[example.answer[:80]] += 1
        profile.lengths[_bin(sum(map(least_tokens, (example.question, *example.choices))), _LENGTHS)] += 1
        profile.kinds[example.kind] += 1
        profile.images["video" if example.video is not None else str(len(example.images))] += 1
        # The frames of a video have one size.
        for image in example.images[: example.visuals]:
            profile.sides[_bin(_side(image), _SIDES)] += 1
        if number % step == 0 and len(profile.samples) < SAMPLES:
            profile.samples.append(example)
    profile.answers = Counter(dict(profile.answers.most_common(_TOP)))
    return profile


def _examples(folder: Path, split: str) -> Iterator[Example]:
    for shard in read_manifest(folder).shards:
        if shard.split == split:
            yield from read_shard(folder / shard.file)


def _side(image: bytes) -> int:
    try:
        return max(plain_size(image))
    except UnusableImageError:
        return 0


def _bin(value: int, edges: tuple[int, ...]) -> str:
    names = bins(edges)
    return next((name for edge, name in zip(edges, names, strict=False) if value <= edge), names[-1])


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
            if name not in reasons and len(first) < _REJECTED:
                first.append(shown)
            elif len(others) < _REJECTED:
                others.append(shown)
            # A hostile source must not make the page as long as itself.
            reasons[name if name in reasons or len(reasons) < 4 * _TOP else "other reasons"] += 1
    return reasons, (first + others)[:_REJECTED]


def reason_name(field_name: str, reason: str) -> str:
    """Return a reason without its particulars: names in quotes and numbers."""
    general = re.sub(r"\d[\d,.]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "…", reason)).partition("(")[0].strip()
    return f"{field_name.partition('[')[0] or 'row'}: {general}"[:160]
