"""Read units of measurement: ``cm^2``, ``m/s``, ``square feet``, ``km per hour``, ``°``, ``$``, and counted things (``3 apples``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from vicur.answers.words import singular

_Dimensions = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Unit:
    """A factor to the base units of its dimensions, or the words for the things that are counted."""

    factor: Fraction = Fraction(1)
    dimensions: _Dimensions = ()
    things: frozenset[str] = frozenset()

    @property
    def is_percent(self) -> bool:
        return self.dimensions == (("percent", 1),)

    @property
    def is_none(self) -> bool:
        """Whether this is not a unit, or one that only says "units"."""
        return not self.things and all(base == "unit" for base, _ in self.dimensions)


_F = Fraction
# name: (factor, dimension). Symbols of the first table take the prefixes of the SI.
_SYMBOLS: dict[str, tuple[Fraction, str, int]] = {
    "m": (_F(1), "length", 1),
    "g": (_F(1), "mass", 1),
    "s": (_F(1), "time", 1),
    "L": (_F(1, 1000), "length", 3),
    "l": (_F(1, 1000), "length", 3),
    "N": (_F(1), "force", 1),
    "J": (_F(1), "energy", 1),
    "W": (_F(1), "power", 1),
    "Pa": (_F(1), "pressure", 1),
    "V": (_F(1), "voltage", 1),
    "A": (_F(1), "current", 1),
    "Hz": (_F(1), "frequency", 1),
    "Ω": (_F(1), "resistance", 1),
    "mol": (_F(1), "amount", 1),
    "B": (_F(8), "data", 1),
    "bit": (_F(1), "data", 1),
    "cal": (_F(1), "calorie", 1),
}
_PREFIXES = {"k": _F(1000), "c": _F(1, 100), "m": _F(1, 1000), "d": _F(1, 10), "μ": _F(1, 10**6), "n": _F(1, 10**9)}
_PREFIXES |= {"h": _F(100), "p": _F(1, 10**12)}
_PREFIXES |= {"M": _F(10**6), "G": _F(10**9), "T": _F(10**12)}
_PREFIX_WORDS = {
    "kilo": "k",
    "centi": "c",
    "milli": "m",
    "deci": "d",
    "micro": "μ",
    "nano": "n",
    "mega": "M",
    "giga": "G",
    "tera": "T",
    "hecto": "h",
    "pico": "p",
}
_SYMBOL_WORDS = {"meter": "m", "metre": "m", "gram": "g", "gramme": "g", "second": "s", "sec": "s", "liter": "L"}
_SYMBOL_WORDS |= {"litre": "L", "newton": "N", "joule": "J", "watt": "W", "pascal": "Pa", "volt": "V", "ampere": "A"}
_SYMBOL_WORDS |= {"amp": "A", "hertz": "Hz", "ohm": "Ω", "mole": "mol", "byte": "B", "bit": "bit", "calorie": "cal"}
_FOOT, _POUND, _HOUR = _F("0.3048"), _F("453.59237"), _F(3600)
_OTHERS: dict[str, tuple[Fraction, str, int]] = {
    **dict.fromkeys(("in", "inch", "inche"), (_FOOT / 12, "length", 1)),
    **dict.fromkeys(("ft", "foot", "feet"), (_FOOT, "length", 1)),
    **dict.fromkeys(("yd", "yard"), (_FOOT * 3, "length", 1)),
    **dict.fromkeys(("mi", "mile"), (_FOOT * 5280, "length", 1)),
    **dict.fromkeys(("lb", "pound"), (_POUND, "mass", 1)),
    **dict.fromkeys(("oz", "ounce"), (_POUND / 16, "mass", 1)),
    **dict.fromkeys(("tonne", "t"), (_F(10**6), "mass", 1)),
    **dict.fromkeys(("fl oz", "fluid ounce"), (_F("0.0000295735295625"), "length", 3)),
    **dict.fromkeys(("gal", "gallon"), (_F("0.003785411784"), "length", 3)),
    **dict.fromkeys(("ha", "hectare"), (_F(10**4), "length", 2)),
    **dict.fromkeys(("min", "minute"), (_F(60), "time", 1)),
    **dict.fromkeys(("h", "hr", "hour"), (_HOUR, "time", 1)),
    **dict.fromkeys(("day",), (_HOUR * 24, "time", 1)),
    **dict.fromkeys(("wk", "week"), (_HOUR * 168, "time", 1)),
    **dict.fromkeys(("month",), (_F(1), "month", 1)),
    **dict.fromkeys(("yr", "year"), (_F(12), "month", 1)),
    **dict.fromkeys(("°", "deg", "degree"), (_F(1), "angle", 1)),
    **dict.fromkeys(("rad", "radian"), (_F(1), "radian", 1)),
    **dict.fromkeys(("°C", "celsius", "degree celsius", "degree c", "° c"), (_F(1), "celsius", 1)),
    **dict.fromkeys(("°F", "fahrenheit", "degree fahrenheit", "degree f", "° f"), (_F(1), "fahrenheit", 1)),
    **dict.fromkeys(("K", "kelvin"), (_F(1), "kelvin", 1)),
    **dict.fromkeys(("%", "percent", "pct", "per cent"), (_F(1), "percent", 1)),
    **dict.fromkeys(("$", "dollar", "USD", "usd", "US$", "us dollar", "U.S. dollar"), (_F(1), "dollar", 1)),
    **dict.fromkeys(("¢", "cent"), (_F(1, 100), "dollar", 1)),
    **dict.fromkeys(("€", "euro", "EUR"), (_F(1), "euro", 1)),
    **dict.fromkeys(("£", "GBP", "pound sterling"), (_F(1), "sterling", 1)),
    **dict.fromkeys(("¥", "yen", "JPY"), (_F(1), "yen", 1)),
    **dict.fromkeys(("unit",), (_F(1), "unit", 1)),
}
_SPEEDS = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "mps": "m/s", "fps": "ft/s"}
# Words after a number that make it a different number, or part of a longer statement.
_NOT_THINGS = frozenset(
    re.findall(
        "[a-z]+",
        "of than less more fewer times or and to per minus plus over divided multiplied by not if but from until versus vs point squared "
        "cubed root power degrees is are was were the that either maybe sin cos tan cot sec csc log exp sqrt alpha beta gamma theta phi "
        "psi mod percent half quarter thirds sixths each other out",
    )
)
# The word after which a response was cut off.
_CUT_OFF = frozenset({"the", "and", "are", "plus", "minus"})
_POWER_WORDS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_FACTOR = re.compile(r"(?P<name>°? ?[^\W\d_]+|[°%$€£¥¢])\.?(?:\^?\{?\s?(?P<power>-?\d)\s?\}?)?")
_THING = re.compile(r"[a-z]{2,20}(?:-[a-z]{2,20})*")
_MAX_THINGS = 4


@lru_cache(maxsize=4096)
def measure(text: str) -> Unit | None:
    """Return the unit that all of ``text`` names, or ``None`` if it is not one of measurement."""
    text = re.sub(r"\s?(?:\bper\b|/)\s?", "/", text.strip().strip("()"))
    text = _SPEEDS.get(text.casefold(), text)
    above, *below = text.split("/")
    if not text or len(below) > 2 or len(text) > 40:
        return None
    factors = [(part, 1) for part in _product(above)] if above else []
    factors += [(part, -1) for each in below for part in _product(each)]
    if len(set(factors)) < len(factors):
        return None
    total, dimensions = _F(1), dict[str, int]()
    for part, sign in factors:
        found = _factor(part)
        if found is None:
            return None
        total *= found.factor**sign
        for base, power in found.dimensions:
            dimensions[base] = dimensions.get(base, 0) + sign * power
    return Unit(total, tuple(sorted((base, power) for base, power in dimensions.items() if power)))


def counted(text: str) -> Unit | None:
    """Return the things that all of ``text`` names (``red apples``), or ``None`` if these words do more than name things."""
    words = text.strip().casefold().split()
    if len(words) == 1 and words[0] in _CUT_OFF:
        return Unit()
    if not 0 < len(words) <= _MAX_THINGS or any(w in _NOT_THINGS or not _THING.fullmatch(w) for w in words):
        return None
    # Several words must end in a plural: "2 red apples", but not "2 helpful middle".
    is_noun = len(words[-1]) > 2 and (len(words) == 1 or singular(words[-1]) != words[-1])
    return Unit(things=frozenset(map(singular, words))) if is_noun else None


def _product(text: str) -> list[str]:
    text = re.sub(r"\b(square|sq|cubic|cu)\.? (\w+)", r"\1_\2", text.strip(), flags=re.IGNORECASE)
    text = re.sub(r"(\w+) (squared|cubed)\b", r"\2_\1", text, flags=re.IGNORECASE)
    whole = text.casefold()
    if _named(text) is not None or whole in _OTHERS:
        return [text]
    return [part for part in re.split(r"\s?\*\s?| |-(?=[^\W\d])", text) if part]


def _factor(text: str) -> Unit | None:
    word, _, name = text.rpartition("_")
    power = _POWER_WORDS.get(word.casefold(), 1)
    match = _FACTOR.fullmatch(name)
    found = _named(name) or (_named(match["name"]) if match else None)
    if found is None:
        return None
    if match and match["power"] and _named(name) is None:
        power *= int(match["power"])
    factor, base, exponent = found
    return Unit(factor**power, ((base, exponent * power),))


@lru_cache(maxsize=1024)
def _named(name: str) -> tuple[Fraction, str, int] | None:
    if found := _OTHERS.get(name) or _SYMBOLS.get(name):
        return found
    if name[:1] in _PREFIXES and name[1:] in _SYMBOLS:
        return _prefixed(name[0], name[1:])
    lower = " ".join(singular(word) for word in name.casefold().split())
    if lower in _SYMBOL_WORDS:
        return _SYMBOLS[_SYMBOL_WORDS[lower]]
    for prefix, symbol in _PREFIX_WORDS.items():
        if lower.startswith(prefix) and lower[len(prefix) :] in _SYMBOL_WORDS:
            return _prefixed(symbol, _SYMBOL_WORDS[lower[len(prefix) :]])
    # "CM" and "Km" have one reading. "MG" and "mW" have two, which only their case separates.
    if lower in ("cm", "km", "kg", "cl", "dl") and name != lower:
        return _named(lower)
    # "hrs" and "lbs", which are too short for a plural otherwise.
    return _OTHERS.get(lower) or _OTHERS.get(lower.removesuffix("s"))


def _prefixed(prefix: str, symbol: str) -> tuple[Fraction, str, int]:
    factor, base, exponent = _SYMBOLS[symbol]
    return factor * _PREFIXES[prefix], base, exponent
