"""The page of samples: a self-contained file that lets a person judge cues beside the images that they are about."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

from vicur.cues.audit import Audit, AuditedCue
from vicur.cues.statements import stated_evidence
from vicur.data.schema import Example

Mark = Literal["ungrounded", "leaks", "skipped", "reasoning", "fine"]
# What is wrong comes first, the worst of it foremost.
_MARKS: tuple[Mark, ...] = ("ungrounded", "leaks", "skipped", "reasoning", "fine")
_TROUBLED_PERCENT = 60
# An image of at most this many pixels a side is drawn large, pixel by pixel; a bigger one is scaled down to it.
_TINY, _LARGEST = 128, 384
_TEMPLATE = Path(__file__).with_name("samples.html.j2")


@dataclass(frozen=True)
class Sample:
    """One example on the page.

    Attributes:
        row: its cue and what the audit says of it.
        question, answer: the example's.
        choices: what it offers to choose from.
        truth: the evidence that the example states, to compare the cue with.
        images: data URIs; ``None`` for an image that cannot be shown.
        pixelated: whether the images are so small that their pixels should be seen.
    """

    row: AuditedCue
    question: str
    answer: str
    choices: tuple[str, ...]
    truth: tuple[tuple[str, str], ...]
    images: tuple[str | None, ...]
    pixelated: bool

    @property
    def mark(self) -> Mark:
        """What is most wrong with it."""
        return _mark(self.row)


def choose(rows: Sequence[AuditedCue], examples: Sequence[Example], count: int) -> list[Sample]:
    """Picks at most ``count`` of a split's examples: faults first, then good ones, of all faults and kinds in turn.

    Args:
        rows: the audited examples.
        examples: the same ones, in the same order.
        count: how many to pick. A part of them is good where there is any: faults alone tell little.
    """
    of_mark: dict[Mark, list[int]] = {mark: [] for mark in _MARKS}
    for place, row in enumerate(rows):
        of_mark[_mark(row)].append(place)
    faults = _alternately([_in_turn(rows, of_mark[mark]) for mark in _MARKS[:-1]])
    fine = _in_turn(rows, of_mark["fine"])
    shown = faults[: max(count * _TROUBLED_PERCENT // 100, count - len(fine))]
    return [_sample(rows[place], examples[place]) for place in (shown + fine)[:count]]


def render_page(samples: Sequence[Sample], audit: Audit) -> str:
    """The page as HTML. Everything that comes from a dataset is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f} %"
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    ordered = sorted(
        samples, key=lambda sample: _MARKS.index(sample.mark)
    )  # stable: the split that teaches stays first
    kinds = sorted({kind for split in audit.splits.values() for kind in split.kinds})
    marks = [mark for mark in _MARKS if any(sample.mark == mark for sample in samples)]
    return page.render(samples=ordered, audit=audit, kinds=kinds, marks=marks, findings=_findings(audit)) + "\n"


def _findings(audit: Audit) -> list[tuple[str, list[int]]]:
    """How often each rule, reason and word was found, by split."""
    counts = [
        {f"gives the answer away: {rule}": count for rule, count in split.leak_rules.items()}
        | {f"skipped: {reason}": count for reason, count in split.skip_reasons.items()}
        | {f"says “{word}”": count for word, count in split.reasoning_words.items()}
        for split in audit.splits.values()
    ]
    return [(what, [of_split.get(what, 0) for of_split in counts]) for what in dict.fromkeys(chain(*counts))]


def _mark(row: AuditedCue) -> Mark:
    if row.skipped is not None:
        return "skipped"
    if row.grounded is False:
        return "ungrounded"
    if row.leak is not None:
        return "leaks"
    return "reasoning" if row.reasoning else "fine"


def _in_turn(rows: Sequence[AuditedCue], places: Sequence[int]) -> list[int]:
    """``places`` in an order that takes one of each kind in turn, so that the first few show all kinds."""
    by_kind: dict[str, list[int]] = {}
    for place in places:
        by_kind.setdefault(rows[place].kind, []).append(place)
    return _alternately([by_kind[kind] for kind in sorted(by_kind)])


def _alternately(lists: Sequence[Sequence[int]]) -> list[int]:
    """The first of each list, then the second of each, and so on."""
    return [place for place in chain.from_iterable(zip_longest(*lists)) if place is not None]


def _sample(row: AuditedCue, example: Example) -> Sample:
    shown = [_shown(image) for image in example.images]
    return Sample(
        row=row,
        question=example.question,
        answer=example.answer,
        choices=example.choices,
        truth=tuple((subject, ", ".join(values)) for subject, values in stated_evidence(example).items()),
        images=tuple(uri for uri, _ in shown),
        pixelated=all(tiny for _, tiny in shown),
    )


def _shown(image: bytes) -> tuple[str | None, bool]:
    """A data URI of an image, scaled down where it is large, and whether it is tiny."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            tiny = max(opened.size) <= _TINY
            if max(opened.size) <= _LARGEST and opened.format in ("PNG", "JPEG"):
                return _data_uri(image, opened.format), tiny
            small = opened.convert("RGB")
            small.thumbnail((_LARGEST, _LARGEST))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=85)
            return _data_uri(buffer.getvalue(), "JPEG"), tiny
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None, False


def _data_uri(image: bytes, kind: str) -> str:
    return f"data:image/{kind.lower()};base64,{base64.b64encode(image).decode()}"
