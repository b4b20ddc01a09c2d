r"""Find calculations in text and carry them out: ``7 + 5``, ``half of 24``, ``12 cm times 8 cm``, ``\sqrt{5^{2} +"
r" 12^{2}}``.

A cue with one step left gives the answer away as surely as the answer itself. Expressions are read in plain notation
(:mod:`vicur.answers.notation`) by descent, with bounded depth, and calculated in floating point: no text is ever executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vicur.answers.numerals import MAGNITUDES, leading_number
from vicur.answers.units import measure

MAX_TOKENS = 4000
_MAX_DEPTH = 25
_TOKEN = re.compile(
    r"(?P<number>(?<![A-Za-z\d_])(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<word>[^\W\d_]+)"
    r"|(?P<sign>[-+*/^(){}\[\]√π=%°$€£:!,])|(?P<other>\S)"
)
_NUMBER_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred",
    )
)
_PHRASES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("multiplied", "by"), "*"),
    (("divided", "by"), "/"),
    (("added", "to"), "+"),
    (("plus",), "+"),
    (("minus",), "-"),
    (("less",), "-"),
    (("times",), "*"),
    (("over",), "/"),
)
_LISTS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "total": math.fsum,
    "product": math.prod,
    "average": lambda values: math.fsum(values) / len(values),
    "mean": lambda values: math.fsum(values) / len(values),
    "difference": lambda values: abs(values[0] - values[1]),
    "quotient": lambda values: values[0] / values[1],
    "ratio": lambda values: values[0] / values[1],
}
_FACTORS = {"half": 0.5, "third": 1 / 3, "quarter": 0.25, "twice": 2.0, "double": 2.0, "thrice": 3.0, "triple": 3.0}


@dataclass(frozen=True)
class Calculation:
    """A number or calculation in a text, and its value."""

    value: float
    operations: int
    """Number of operations. A fraction of two numbers is a number."""
    start: int
    end: int


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    spaced: bool
    """Whether a space precedes it."""
    raw: str = ""


class _Unreadable(Exception):  # noqa: N818
    """The tokens from here on do not form a calculation."""


def calculations(text: str) -> Iterator[Calculation]:
    """Yield the numbers and calculations of a plain text from left to right, each as long as possible, without overlaps."""
    tokens = _tokens(text)
    place = 0
    while place < len(tokens):
        found = _Reader(tokens, place).read() if _may_start(tokens, place) else None
        if found is None:
            place += 1
        else:
            calculation, place = found
            yield calculation


def value_of(text: str) -> float | None:
    """Return the value of a plain text that is one calculation, or ``None``."""
    tokens = _tokens(text)
    found = _Reader(tokens, 0).read() if tokens else None
    if found is None or found[1] < len(tokens):
        return None
    return found[0].value


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        spaced = match.start() > 0 and text[match.start() - 1].isspace()
        found.append(_Token(kind, match[0].casefold() if kind == "word" else match[0], *match.span(), spaced, match[0]))
        if len(found) >= MAX_TOKENS:
            break
    return found


def _may_start(tokens: Sequence[_Token], place: int) -> bool:
    token = tokens[place]
    if token.text in ("minus", "negative"):
        return place == 0 or tokens[place - 1].kind != "number"
    if token.text == "-":
        # The second number of a range is not negative.
        return place == 0 or token.spaced or tokens[place - 1].kind not in ("number", "word")
    if token.kind == "number" or token.text in ("√", "π", "(", "\\frac", "\\sqrt", "$"):
        return True
    return token.kind == "word" and (
        token.text in _NUMBER_WORDS
        or token.text in _LISTS
        or token.text in _FACTORS
        or token.text in ("square", "root")
    )


class _Reader:
    """Reads one calculation from a place in the tokens."""

    def __init__(self, tokens: Sequence[_Token], place: int) -> None:
        self.tokens, self.place, self.first = tokens, place, place
        self.operations = 0
        self.depth = 0

    def read(self) -> tuple[Calculation, int] | None:
        start = self.tokens[self.place].start
        try:
            value = self.sum()
        except (_Unreadable, ArithmeticError, ValueError, IndexError):
            return None
        if not math.isfinite(value) or self.place == self.first:
            return None
        return Calculation(value, self.operations, start, self.tokens[self.place - 1].end), self.place

    def sum(self) -> float:
        value = self.product()
        while (sign := self._operator("+-")) is not None:
            kept = self.place, self.operations
            try:
                self._skip_operator()
                other = self.product()
            except (_Unreadable, IndexError):
                self.place, self.operations = kept
                break
            value = value + other if sign == "+" else value - other
            self.operations += 1
        return value

    def product(self) -> float:
        value, plain_fraction = self.power(), self._is_number(-1)
        while True:
            kept = self.place, self.operations
            sign = self._operator("*/")
            try:
                if sign is not None:
                    self._skip_operator()
                elif not self._implied():
                    return value
                simple = sign == "/" and plain_fraction and self._is_number(0) and self._text() != "over"
                other = self.power()
            except (_Unreadable, IndexError):
                self.place, self.operations = kept
                return value
            value = value / other if sign == "/" else value * other
            self.operations += 0 if simple or (sign is None and not plain_fraction) else 1
            plain_fraction = False

    def power(self) -> float:
        value = self.atom()
        while True:
            if self._text() == "^":
                self.place += 1
                exponent = self.atom()
                if abs(exponent) > 60:
                    raise _Unreadable
                value, self.operations = value**exponent, self.operations + 1
                if isinstance(value, complex):
                    raise _Unreadable
            elif self._text() in ("squared", "cubed"):
                value = value ** (2 if self._text() == "squared" else 3)
                self.place, self.operations = self.place + 1, self.operations + 1
            else:
                return value

    def atom(self) -> float:
        self.depth += 1
        try:
            if self.depth > _MAX_DEPTH:
                raise _Unreadable
            return self._atom()
        finally:
            self.depth -= 1

    def _atom(self) -> float:
        self._skip("the", "a", "an")
        token = self.tokens[self.place]
        text = token.text
        if token.kind == "number":
            self.place += 1
            value = float(text.replace(",", "")) + self._fraction_behind()
            while self._text() in MAGNITUDES:
                value *= MAGNITUDES[self._text()]
                self.place += 1
            self._unit()
            return value
        if token.kind == "word" and text in _NUMBER_WORDS:
            return self._spelled()
        if text == "$":
            self.place += 1
            return self._atom()
        if text in ("-", "minus", "negative"):
            self.place += 1
            if self._text() in ("-", "+"):
                raise _Unreadable
            return -self.power()
        if text in ("π", "pi"):
            self.place += 1
            return math.pi
        if text in ("(", "{", "["):
            return self._bracketed()
        if text == "\\frac":
            self.place += 1
            above, below = self._bracketed(), self._bracketed()
            return above / below
        if text in ("\\sqrt", "√"):
            self.place += 1
            return math.sqrt(self._bracketed() if self._text() in ("{", "(") else self.power())
        if text in ("square", "root"):
            self._skip("square")
            self._need("root")
            self._skip("of")
            return math.sqrt(self.power())
        if text in _FACTORS:
            self.place += 1
            # "The third one" is not a fraction.
            if text in ("third", "quarter") and self._text() != "of":
                raise _Unreadable
            self._skip("of")
            self.operations += 1
            return _FACTORS[text] * self.power()
        if text in _LISTS:
            return self._listed()
        raise _Unreadable

    def _fraction_behind(self) -> float:
        """Read the fraction of a mixed number: the ``1/2`` of ``7 1/2``."""
        part = self.tokens[self.place : self.place + 3]
        is_mixed = (
            [each.kind for each in part] == ["number", "sign", "number"] and part[1].text == "/" and part[0].spaced
        )
        if (
            not is_mixed
            or part[1].spaced
            or part[2].spaced
            or "." in self.tokens[self.place - 1].text
            or not float(part[2].text)
        ):
            return 0.0
        self.place += 3
        return float(part[0].text) / float(part[2].text)

    def _bracketed(self) -> float:
        if self._text() not in ("(", "{", "["):
            raise _Unreadable
        self.place += 1
        value = self.sum()
        if self._text() not in (")", "}", "]"):
            raise _Unreadable
        self.place += 1
        return value

    def _listed(self) -> float:
        name = self._text()
        self.place += 1
        if self._text() not in ("of", "between"):
            raise _Unreadable
        self.place += 1
        values = [self.power()]
        while self._text() in (",", "and", "from"):
            kept = self.place
            while self._text() in (",", "and", "from"):
                self.place += 1
            try:
                values.append(self.power())
            except (_Unreadable, IndexError):
                self.place = kept
                break
        if len(values) < 2:
            raise _Unreadable
        self.operations += 1
        return _LISTS[name](values)

    def _spelled(self) -> float:
        """Read a number in words, such as "one hundred and thirty"."""
        words = []
        for token in self.tokens[self.place : self.place + 14]:
            if token.kind == "word" or token.text == "-":
                words.append(token)
            else:
                break
        joined = "".join((" " if token.spaced and n else "") + token.text for n, token in enumerate(words))
        found = leading_number(joined)
        if found is None:
            raise _Unreadable
        used = len(joined) - len(found[1])
        length = 0
        for n, token in enumerate(words):
            if length >= used:
                break
            length += len(token.text) + (1 if token.spaced and n else 0)
            self.place += 1
        self._unit()
        return float(found[0])

    def _unit(self) -> None:
        """Skip a unit if an operation follows it: "12 cm times 8 cm"."""
        if self._text() in ("%", "°"):
            self.place += 1 if self._operand_behind(self.place + 1) else 0
            return
        for count in (7, 6, 5, 3, 2, 1):
            words = self.tokens[self.place : self.place + count]
            if len(words) < count or any(
                each.kind not in ("word", "number") and each.text not in "/^°{}" for each in words
            ):
                continue
            if words[0].kind != "word" or words[0].text in ("times", "over", "of", "a", "and"):
                return
            name = "".join((" " if each.spaced else "") + each.raw for each in words).strip()
            follows = self.place + count
            if measure(name) is not None and self._operand_behind(follows):
                self.place = follows
                return

    def _implied(self) -> bool:
        """Return whether a product without a sign follows: ``4√3``, ``2π``, ``2(9 + 6)``."""
        before, text = self.tokens[self.place - 1], self._text()
        if before.kind == "number" or before.text in ("π", ")", "}"):
            return text in ("√", "π", "pi", "\\sqrt") or (text == "(" and not self.tokens[self.place].spaced)
        return False

    def _is_factor(self, at: int) -> bool:
        """Return whether a sign is all that an operand in brackets contains: ``(3-1)/(3-0)``."""
        around = self.tokens[max(at - 3, 0) : at + 4]
        texts = [each.text for each in around]
        middle = min(at, 3)
        if middle < 2 or texts[middle - 2] != "(" or len(texts) < middle + 3 or texts[middle + 2] != ")":
            return False
        return any(texts[place : place + 1] in (["/"], ["*"]) for place in (middle - 3, middle + 3) if place >= 0)

    def _operator(self, signs: str, place: int | None = None) -> str | None:
        at = self.place if place is None else place
        if at >= len(self.tokens):
            return None
        token = self.tokens[at]
        if token.text in signs and token.kind == "sign":
            if at + 1 >= len(self.tokens):
                return None
            # "2014-2017" is a range and "03/12/2019" a date.
            behind = self.tokens[at + 1]
            before = self.tokens[at - 1]
            tight = not token.spaced and not behind.spaced and before.kind == behind.kind == "number"
            # "-4 -3" are two numbers.
            is_sign = token.text == "-" and token.spaced and not behind.spaced and behind.kind == "number"
            if is_sign or (
                tight and not self._is_factor(at) and (token.text == "-" or (token.text == "/" and self._is_chain(at)))
            ):
                return None
            return token.text
        if token.text == "x" and token.spaced and "*" in signs and self._is_number(1, at):
            return "*"
        for words, sign in _PHRASES:
            if sign in signs and tuple(each.text for each in self.tokens[at : at + len(words)]) == words:
                return sign
        return None

    def _is_chain(self, at: int) -> bool:
        """Return whether the slash at ``at`` is one of several, as in a date."""
        return any(0 <= n < len(self.tokens) and self.tokens[n].text == "/" for n in (at - 2, at + 2))

    def _operand_behind(self, at: int) -> bool:
        """Return whether an operator and a number follow at a place: not in ``5 m/s``."""
        if self._operator("+-*/", at) is None:
            return False
        width = next(
            (len(words) for words, _ in _PHRASES if tuple(t.text for t in self.tokens[at : at + len(words)]) == words),
            1,
        )
        return at + width < len(self.tokens) and (
            self.tokens[at + width].kind == "number" or _may_start(self.tokens, at + width)
        )

    def _skip_operator(self) -> None:
        at = self.place
        for words, _ in _PHRASES:
            if tuple(each.text for each in self.tokens[at : at + len(words)]) == words:
                self.place += len(words)
                return
        self.place += 1

    def _is_number(self, offset: int, place: int | None = None) -> bool:
        at = (self.place if place is None else place) + offset
        return 0 <= at < len(self.tokens) and self.tokens[at].kind == "number"

    def _text(self) -> str:
        return self.tokens[self.place].text if self.place < len(self.tokens) else ""

    def _skip(self, *words: str) -> None:
        while self._text() in words:
            self.place += 1

    def _need(self, word: str) -> None:
        if self._text() != word:
            raise _Unreadable
        self.place += 1
