"""Render the page of samples: a self-contained HTML file that shows cues next to their images."""

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
from vicur.pages.html import page_environment
from vicur.wording import percent

Mark = Literal["unusable", "ungrounded", "leaks", "solves", "skipped", "reasoning", "fine"]
# In order of display, the worst first.
_MARKS: tuple[Mark, ...] = ("unusable", "ungrounded", "leaks", "solves", "skipped", "reasoning", "fine")
_WORDS = {
    "answer_leak": "gives the answer away",
    "solution_leak": "states a step of a solution",
    "injected": "injected",
    "unusable": "no cue",
}
_FAULTY_PERCENT = 60
# Images of at most _TINY pixels a side are enlarged without smoothing; larger ones are scaled down to _LARGEST.
_TINY, _LARGEST = 128, 384
_FRAMES = 6  # of a video
_TEMPLATE = Path(__file__).with_name("samples.html.j2")


@dataclass(frozen=True)
class Sample:
    """One example on the page."""

    row: AuditedCue
    question: str
    answer: str
    choices: tuple[str, ...]
    truth: tuple[tuple[str, str], ...]  # the example's evidence, to compare the cue with
    images: tuple[str | None, ...]  # data URIs; None for an image that cannot be decoded
    pixelated: bool  # whether to enlarge the images without smoothing

    @property
    def mark(self) -> Mark:
        """The worst finding."""
        return _mark(self.row)


def choose(rows: Sequence[AuditedCue], examples: Sequence[Example], count: int) -> list[Sample]:
    """Choose at most ``count`` examples of a split: faulty then good ones, each alternating between kinds of questions."""
    of_mark: dict[Mark, list[int]] = {mark: [] for mark in _MARKS}
    for place, row in enumerate(rows):
        of_mark[_mark(row)].append(place)
    faults = _alternately([_in_turn(rows, of_mark[mark]) for mark in _MARKS[:-1]])
    fine = _in_turn(rows, of_mark["fine"])
    # Good examples get a share of the page, because faults alone say little about a provider.
    chosen = faults[: max(count * _FAULTY_PERCENT // 100, count - len(fine))]
    return [_sample(rows[place], examples[place]) for place in (chosen + fine)[:count]]


def render_page(samples: Sequence[Sample], audit: Audit) -> str:
    """Render the page as HTML. All content from the dataset is escaped."""
    environment = page_environment(_TEMPLATE.parent)
    environment.filters["percent"] = _percent
    page = environment.get_template(_TEMPLATE.name)
    # The sort is stable, so the distillation split stays first.
    ordered = sorted(samples, key=lambda sample: _MARKS.index(sample.mark))
    kinds = sorted({kind for split in audit.splits.values() for kind in split.kinds})
    marks = [mark for mark in _MARKS if any(sample.mark == mark for sample in samples)]
    grounded = [(kind, _grounded_by_split(audit, kind)) for kind in kinds]
    return (
        page.render(
            samples=ordered, audit=audit, grounded=grounded, marks=marks, findings=_findings(audit), words=_WORDS
        )
        + "\n"
    )


def _percent(share: float | None) -> str:
    # A no-break space keeps the sign with its number in the narrow tiles.
    return "–" if share is None else percent(share).replace(" ", "\u00a0")


def _grounded_by_split(audit: Audit, kind: str) -> list[str]:
    # A split may lack a kind of question that others have.
    of_kind = [split.kinds.get(kind) for split in audit.splits.values()]
    return [_percent(None if each is None else each.grounded_share) for each in of_kind]


def _findings(audit: Audit) -> list[tuple[str, list[int]]]:
    """Count each rule, reason and word by split."""
    counts = [
        {
            f"{_WORDS[label]}: {rule}": count
            for label, rules in split.findings.items()
            if label in _WORDS
            for rule, count in rules.items()
        }
        | {f"skipped: {reason}": count for reason, count in split.skip_reasons.items()}
        | {f"says “{word}”": count for word, count in split.reasoning_words.items()}
        for split in audit.splits.values()
    ]
    return [(what, [of_split.get(what, 0) for of_split in counts]) for what in dict.fromkeys(chain(*counts))]


def _mark(row: AuditedCue) -> Mark:
    if row.skipped is not None:
        return "skipped"
    if row.found("injected", "unusable"):
        return "unusable"
    if row.grounded is False:
        return "ungrounded"
    if row.leak is not None:
        return "leaks"
    if row.found("solution_leak"):
        return "solves"
    return "reasoning" if row.reasoning else "fine"


def _in_turn(rows: Sequence[AuditedCue], places: Sequence[int]) -> list[int]:
    """Order ``places`` by taking one of each kind of question in turn, so that the first few cover all kinds."""
    by_kind: dict[str, list[int]] = {}
    for place in places:
        by_kind.setdefault(rows[place].kind, []).append(place)
    return _alternately([by_kind[kind] for kind in sorted(by_kind)])


def _alternately(lists: Sequence[Sequence[int]]) -> list[int]:
    """Return the first item of each list, then the second of each, and so on."""
    return [place for place in chain.from_iterable(zip_longest(*lists)) if place is not None]


def _sample(row: AuditedCue, example: Example) -> Sample:
    prepared = [_prepare(image) for image in example.strip(_FRAMES)]
    return Sample(
        row=row,
        question=example.question,
        answer=example.answer,
        choices=example.choices,
        truth=tuple((subject, ", ".join(values)) for subject, values in stated_evidence(example).items()),
        images=tuple(uri for uri, _ in prepared),
        pixelated=all(tiny for _, tiny in prepared),
    )


def _prepare(image: bytes) -> tuple[str | None, bool]:
    """Return the data URI of an image, scaled down if it is large, and whether it is tiny."""
    from vicur.data.images import UnusableImageError, media_type, plain_image

    try:
        shown = plain_image(image)
    except UnusableImageError:
        return None, False
    if max(shown.size) <= _LARGEST:
        return _data_uri(image, media_type(image)), max(shown.size) <= _TINY
    shown.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=85)
    return _data_uri(buffer.getvalue(), "image/jpeg"), False


def _data_uri(image: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"
