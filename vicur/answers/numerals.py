"""Read numbers exactly: decimals, thousands separators, fractions, mixed numbers, powers of ten and number words."""

from __future__ import annotations

import re
from fractions import Fraction

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:[ ]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_LITERAL = re.compile(
    rf"""
    (?P<sign>[-+]?)\s?
    (?:
        (?P<whole>\d+)(?:\ (?:and\ )?(?P<over>\d+)\ ?/\ ?(?P<under>\d+)|\ ?\\frac\{{(?P<over2>\d+)\}}\{{(?P<under2>\d+)\}})
      | \\frac\{{\ ?(?P<top>-?(?:{_DECIMAL}))\ ?\}}\{{\ ?(?P<bottom>{_DECIMAL})\ ?\}}
      | (?P<number>{_DECIMAL})(?:\s?/\s?(?P<denominator>{_DECIMAL})(?![\d/]))?
    )
    (?:\s?(?:\*|x)\s?10\s?\^\s?\{{?\s?\(?(?P<power>[-+]?\d{{1,3}})\)?\s?\}}?|[eE](?P<exponent>[-+]?\d{{1,3}})(?![\w.]))?
    """,
    re.VERBOSE,
)
_UNITS = re.findall(
    "[a-z]+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
)
_TENS = re.findall("[a-z]+", "twenty thirty forty fifty sixty seventy eighty ninety")
_SMALL = {word: number for number, word in enumerate(_UNITS)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MAGNITUDES = {"hundred": 100, "dozen": 12} | _LARGE
"""Words that multiply the number before them."""
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4}
_PARTS |= {"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}
_WORD = re.compile(r"[a-z]+")
_SEPARATOR = re.compile(r"(?:-| (?:and )?)(?=[a-z])")
MAX_DIGITS = 60


def leading_number(text: str) -> tuple[Fraction, str] | None:
    """Return the number that ``text`` starts with, in digits or words, and the rest of the text."""
    match = _LITERAL.match(text)
    if match is None:
        return _leading_words(text)
    number = None if len(match[0]) > MAX_DIGITS else _value(match)
    return None if number is None else (number, text[match.end() :])


def number(text: str) -> Fraction | None:
    """Return the number that is all of ``text``, or ``None``."""
    found = leading_number(text)
    return found[0] if found is not None and not found[1].strip() else None


def _value(match: re.Match[str]) -> Fraction | None:
    parts = {name: re.sub("[, ]", "", value) for name, value in match.groupdict().items() if value is not None}
    below = Fraction(parts.get("under") or parts.get("under2") or parts.get("bottom") or parts.get("denominator") or 1)
    if not below:
        return None
    above = parts.get("over") or parts.get("over2") or parts.get("top") or parts.get("number")
    value = Fraction(parts.get("whole") or 0) + Fraction(above or 0) / below
    value *= Fraction(10) ** int(parts.get("power") or parts.get("exponent") or 0)
    return -value if parts["sign"] == "-" else value


def _leading_words(text: str) -> tuple[Fraction, str] | None:
    """Read ``one hundred and five``, ``minus two``, ``three quarters``, ``two and a half``, ``three point five``."""
    lower = text.lower()
    if sign := re.match(r"(?:minus|negative) ", lower):
        found = _leading_words(text[sign.end() :]) or leading_number(text[sign.end() :])
        return None if found is None else (-found[0], found[1])
    whole, end = _cardinal(lower)
    if whole is None:
        if half := re.match(r"(?:an? |one )?(half|quarter|third)(?: of)?(?: an?)?(?![a-z])", lower):
            return Fraction(1, _PARTS[half[1]]), text[half.end() :]
        return None
    rest = lower[end:]
    if point := re.match(rf" point((?: (?:{'|'.join(_UNITS[:10])}))+)", rest):
        digits = "".join(str(_SMALL[word]) for word in point[1].split())
        return Fraction(f"{whole}.{digits}"), text[end + point.end() :]
    if part := re.match(rf" and (an?|{'|'.join(_UNITS[1:])})[ -]({'|'.join(_PARTS)})(?![a-z])", rest):
        return whole + Fraction(_SMALL.get(part[1], 1), _PARTS[part[2]]), text[end + part.end() :]
    if (part := re.match(r"[ -]([a-z]+)", rest)) and part[1] in _PARTS:
        return Fraction(whole, _PARTS[part[1]]), text[end + part.end() :]
    return Fraction(whole), text[end:]


def _cardinal(text: str) -> tuple[int | None, int]:
    """Return the whole number that ``text`` starts with in words, and where it ends."""
    total = current = end = 0
    seen, last = False, ""
    position = 0
    while word := _WORD.match(text, position):
        name, joined = word[0], text[end:position]
        if name in _SMALL:
            # "twenty five" and "one hundred and five", but not "two three" or "two and three".
            fits = not seen or last in MAGNITUDES or (last in _TENS and 0 < _SMALL[name] < 10 and "and" not in joined)
            if not fits:
                break
            current += _SMALL[name]
        elif name in MAGNITUDES and (seen or name == "dozen") and "and" not in joined:
            if name in _LARGE:
                total, current = total + current * _LARGE[name], 0
            else:
                current = max(current, 1) * MAGNITUDES[name]
        elif not (name == "a" and re.match(r"a (?:hundred|thousand|million|dozen)\b", text[position:]) and not seen):
            break
        else:
            current = 1
        seen, last, end = True, name, word.end()
        gap = _SEPARATOR.match(text, end)
        if gap is None:
            break
        position = gap.end()
    return (total + current if seen else None), end
