"""The question of an example, its answer, and what its image is known to show: what the rules of the audit compare a cue with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, Protocol

from vicur.answers.choices import choice_texts, named_choice
from vicur.answers.correct import gold_value
from vicur.answers.marks import Mark, mark
from vicur.answers.notation import plain
from vicur.answers.quantities import Quantity, quantity
from vicur.answers.units import Unit
from vicur.answers.words import is_prose
from vicur.cues.arithmetic import calculations, value_of
from vicur.cues.plain_text import revealed
from vicur.cues.statements import canonical, stated_evidence
from vicur.cues.wordings import contains, content, stems

IMAGE_TEXT = "image_text"
"""Key of an example's ``metadata`` with the text in its image: a text or a list of texts."""
_COMPARATIVE = (
    r"(?:(?:larg|great|bigg|small|high|low|long|short|tall|clos|near|old|young|wid|narrow|heavi|light|fast|slow|deep"
    r"|thick|thin|steep|"
    r"strong|weak|warm|hott|cool|cold|earli|lat|bright|dark|cheap|rich|poor|hard|soft|deadli|safe)(?:er|est)\b"
    r"|\b(?:more|most|less|least|"
    r"fewer|fewest|maximum|minimum|max|min|farther|farthest|further|furthest|better|best|worse|worst|peak|greater"
    r"|first|last)\b)"
)
COMPARATIVE = re.compile(_COMPARATIVE)
_ASKS_TO_COMPARE = re.compile(
    rf"\b(?:which|who|whose|whom|where|when|what|in\s+which|name|identify)\b.*(?:{_COMPARATIVE})"
    rf"|^(?:is|are|does|do|did|has|have|was|were)\b.*(?:{_COMPARATIVE})"
)
_TRUTH_QUESTION = re.compile(r"^(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b")
_COUNTS = re.compile(
    r"\b(?:how\s+many|how\s+often|(?:the\s+)?number\s+of|count\s+(?:of\s+)?)\s*(?P<things>[^?.!;,]*)", re.IGNORECASE
)
_QUANTITY_AND_WORDS = re.compile(
    r"(-?[\d.,]+ ?[^\W\d_/]{1,12}(?:/[^\W\d_]{1,3})?) (?:to|in|towards?|from|above|below|due|per|at|of) [^\d]{2,40}"
)
_NUMBERS = 400


class Posed(Protocol):
    """Part of an example that the audit reads."""

    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def choices(self) -> tuple[str, ...]: ...
    @property
    def metadata(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Gold:
    """The answer, read in all ways in which a cue could state it."""

    text: str
    """In plain notation."""
    place: int | None = None
    """Index of the right choice."""
    choices: tuple[str, ...] = ()
    quantity: Quantity | None = None
    value: float | None = None
    """Value of a number or a formula of numbers."""
    mark: Mark | None = None
    scaled: bool = False
    """Whether the answer has a word such as "million"."""
    operations: int = 0
    """Number of operations in the answer itself, such as one in ``4\\sqrt{3}``."""
    stems: tuple[str, ...] = ()
    truth: bool | None = None
    """Whether the answer is yes or no."""

    @property
    def is_words(self) -> bool:
        return self.quantity is None and self.value is None and self.mark is None and is_prose(self.text)

    def is_value(self, value: float, unit: Unit | None = None) -> bool:
        """Return whether a number with an optional unit is the answer, or the answer rounded to at least three digits."""
        if self.quantity is not None and unit is not None and not unit.is_none and not self.quantity.unit.is_none:
            from fractions import Fraction

            return self.quantity.agrees(Quantity(Fraction(repr(value)), unit)) or _close(
                float(self.quantity.number * self.quantity.unit.factor),
                value * float(unit.factor),
                unit,
                self.quantity.unit,
            )
        if self.value is None:
            return False
        # "45 million" may be 45 in a table of millions.
        bare = (self.value / scale for scale in (1e3, 1e6, 1e9) if self.scaled and self.value >= scale)
        return same_number(self.value, value, self.quantity) or any(same_number(each, value) for each in bare)


@dataclass(frozen=True)
class Visible:
    """What is known to be visible: the text in the image and the listed evidence."""

    text: str | None
    """Text in the image; ``None`` if it is not known, empty if there is none."""
    evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        return self.text is not None or bool(self.evidence)

    @cached_property
    def plain(self) -> str:
        return _bare(self.text or "")

    @cached_property
    def numbers(self) -> frozenset[float]:
        values = [value for group in self.evidence.values() for value in group]
        subjects = [value for subject in self.evidence for value in _values_in(subject)]
        return frozenset([*_values_in(self.text or ""), *(v for each in values for v in _values_in(each)), *subjects])

    @cached_property
    def stems(self) -> tuple[str, ...]:
        parts = [self.text or "", *self.evidence, *(v for group in self.evidence.values() for v in group)]
        return stems(" ".join(parts))

    def has_number(self, value: float) -> bool:
        return any(math.isclose(value, each, rel_tol=1e-9, abs_tol=1e-12) for each in self.numbers)

    def is_tick(self, value: float) -> bool:
        """Return whether a number is one of at least four equally spaced ones: a label of an axis, not data."""
        numbers = list(
            dict.fromkeys(
                float(each.replace("\u2212", "-"))
                for each in re.findall(r"(?<![\w.])[-\u2212]?\d+(?:\.\d+)?(?!\w)", self.text or "")
            )
        )[:200]
        for step in {b - a for a, b in pairwise(numbers)}:
            run = (
                [each for each in numbers if any(math.isclose(abs(each - other), abs(step)) for other in numbers)]
                if step
                else []
            )
            if len(run) >= 4 and any(math.isclose(value, each) for each in run):
                return True
        return False

    def has_words(self, words: tuple[str, ...]) -> bool:
        return contains(self.stems, words) is not None

    def has_formula(self, text: str) -> bool:
        """Return whether the image shows a text, without regard to spaces and notation."""
        bare = _bare(text)
        return bool(bare) and bare in self.plain


@dataclass(frozen=True)
class Subject:
    """A question with its answer and what the image shows."""

    question: str
    """In canonical form."""
    gold: Gold
    visible: Visible
    compares: bool
    """Whether the question requests a comparison."""
    counts: str | None
    """The things that the question counts."""
    is_truth: bool
    """Whether the question requests yes or no."""
    about: frozenset[str]
    """Stems of the question's content words."""


def subject_of(example: Posed) -> Subject:
    """Read an example."""
    question = canonical(example.question)
    counting = _COUNTS.search(question)
    return Subject(
        question=question,
        gold=_gold(example.answer, tuple(example.choices)),
        visible=visible_of(example),
        compares=_ASKS_TO_COMPARE.search(question) is not None,
        counts=counting["things"].strip() if counting else None,
        is_truth=_TRUTH_QUESTION.search(question) is not None,
        about=frozenset(word for word in content(question) if not (word.isdigit() and len(word) < 3)),
    )


def visible_of(example: Posed) -> Visible:
    """Return what an example's image is known to show."""
    text = example.metadata.get(IMAGE_TEXT)
    if isinstance(text, list | tuple):
        text = "\n".join(map(str, text))
    return Visible(text if isinstance(text, str) else None, stated_evidence(example))  # type: ignore[arg-type]


def same_number(gold: float, value: float, exact: Quantity | None = None) -> bool:
    """Return whether a value is the answer, or a rounded form of an answer that has no short decimal form."""
    if math.isclose(gold, value, rel_tol=1e-9, abs_tol=1e-12):
        return True
    if exact is not None and exact.unit.is_percent and math.isclose(gold / 100, value, rel_tol=1e-9) and value < 1:
        return True
    short = len(repr(gold).replace("-", "").replace(".", "").strip("0")) <= 8
    if short or not value:
        return False
    digits = repr(value).replace("-", "").replace(".", "").strip("0")
    return len(digits) >= 3 and math.isclose(gold, value, rel_tol=0.6 * 10 ** -(len(digits) - 1))


def _leading_quantity(text: str) -> Quantity | None:
    """Return the quantity of an answer such as "5 N to the right"."""
    match = _QUANTITY_AND_WORDS.fullmatch(text)
    return quantity(match[1]) if match else None


def _bare(text: str) -> str:
    return re.sub(r"[\s{}]+", "", canonical(plain(text)))


def _close(gold: float, value: float, unit: Unit, other: Unit) -> bool:
    return unit.dimensions == other.dimensions and not unit.things and math.isclose(gold, value, rel_tol=1e-9)


@lru_cache(maxsize=8192)
def _gold(answer: str, choices: tuple[str, ...]) -> Gold:
    place, text = None, gold_value(answer)
    if choices:
        place = choices.index(answer) if answer in choices else named_choice(text, choices)
        if place is not None:
            text = choice_texts(choices)[place]
    truths = {"yes": True, "true": True, "no": False, "false": False}
    text = re.sub(r"^\\(?:boxed|fbox)\s*\{(.*)\}$", r"\1", text)
    found = quantity(text) or _leading_quantity(text)
    marked = mark(text) if found is None else None
    return Gold(
        text=text,
        place=place,
        choices=choices,
        quantity=found,
        value=float(found.number) if found is not None else None if marked is not None else value_of(text),
        mark=marked,
        scaled=re.search(r"\d\s*(?:thousand|million|billion|k|mn|bn|m)\b", text, re.IGNORECASE) is not None,
        operations=0 if found is not None else sum(each.operations for each in calculations(text)),
        stems=stems(text),
        truth=truths.get(text.casefold()),
    )


def _values_in(text: str) -> list[float]:
    found = []
    for each in calculations(plain(revealed(text))):
        found.append(each.value)
        if len(found) >= _NUMBERS:
            break
    # Numbers that stand in a row may have been read as one calculation.
    return [
        *found,
        *(
            float(number)
            for number in re.findall(
                r"(?<![\w.)])-?\d+(?:\.\d+)?|\d+(?:\.\d+)?",
                re.sub(r"(?<=\d),(?=\d{3})", "", text.replace("\u2212", "-")),
            )[:_NUMBERS]
        ),
    ]
