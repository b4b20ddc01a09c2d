"""Read the value out of a short statement: "BC is 12 cm" says ``12 cm``, "B because the angle is right" says ``B``."""

from __future__ import annotations

import re
from collections.abc import Iterator

_REASON = re.compile(
    r",? (?:because|since|rather than|instead of|given that|due to|so that|so (?:we|it|the|this|that|i))\b"
    r"|[,\uff0c]? ?(?:因为|由于)"
    r"|, (?:as|which|so|not|where|i\.e\.|making|meaning)\b",
    re.IGNORECASE,
)
COPULA = re.compile(
    r"\b(?:is|are|was|were|equals?|will be|must be|should be|has|have|had|contains?|costs?|weighs?|measures?|reads|shows|says|becomes)\b"
    r"(?: (?:equal to|exactly|simply|just|therefore|thus|indeed|clearly|a total of))*",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:not|no longer|never|neither|nor|if|whether|either|maybe|perhaps|probably|possibly|likely|might|may|could|can't|cannot|unless"
    r"|guess|unsure|unknown|unclear|or|than|least|most|between)\b|n't\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:it is|it's|its|they are|they're|this is|that is|that's|there is|there are|he is|she is|these are"
    r"|approximately|approx\.?|about|around|roughly|exactly|only|just|simply|precisely|a total of|equal to"
    r"|therefore|thus|hence|so|clearly|definitely|then|[=≈~∴→:]|option:?|choice:?)(?:,? |(?<=[=≈~∴→:]))(?=\S)",
    re.IGNORECASE,
)
# "in 1995", "the year 1995", "both 2 and 3"
_BEFORE_NUMBER = re.compile(
    r"^(?:(?:in|on|at|the|an?|both) )?(?:(?:year|number|value|digit|page) )?(?=[-$]?\d)|^both (?=.* and )",
    re.IGNORECASE,
)
# "18 years old", "12 cm long"
_BEHIND_UNIT = re.compile(
    r"(?<=[\w°%)}]) (?:old|of age|angle|long|wide|tall|high|deep|thick|away|apart|each|total|altogether|exactly|in (?:total|all|length))$",
    re.IGNORECASE,
)
# "8 triangles in the figure"
_PLACE = re.compile(
    r"(?P<counted>-?\d[\d.,]*(?: [A-Za-z]+){0,3}?),? (?:in|on|at|inside|within|from) (?:the|this|all|total)\b",
    re.IGNORECASE,
)
_REMARK = re.compile(r"\s+\(([^()]*)\)$")


def is_doubtful(text: str) -> bool:
    """Return whether ``text`` negates, weighs or guesses: "not 5", "either 5 or 6", "probably 5"."""
    return _DOUBT.search(text) is not None


def values(text: str) -> Iterator[str]:
    """Yield the readings of a statement in plain notation, the complete text first."""
    yield text
    seen = {text}
    for reading in _readings(text):
        if reading and reading not in seen:
            seen.add(reading)
            yield reading


def without_reason(text: str) -> str:
    """Cut off what follows the value: ", which is less than 20", " because 2 + 3 = 5"."""
    reason = _REASON.search(text)
    return text[: reason.start()].strip(" ,;") if reason else text


def remark(text: str) -> tuple[str, str]:
    """Split "12 (twelve)" into the text and the remark in brackets behind it, which may be empty."""
    match = _REMARK.search(text)
    return (text[: match.start()], match[1].strip()) if match else (text, "")


def _readings(text: str) -> Iterator[str]:
    text = _BEHIND_UNIT.sub("", _without_filler(text))
    yield text
    if (value := without_reason(text)) != text:
        yield (text := value)
    for value in _after_copula(text):
        yield value
        yield (value := _BEHIND_UNIT.sub("", _without_filler(value)))
        if place := _PLACE.match(value):
            yield place["counted"]
    if place := _PLACE.match(text):
        yield place["counted"]


def _without_filler(text: str) -> str:
    text = _BEFORE_NUMBER.sub("", text)
    for _ in range(3):
        text = _FILLER.sub("", text, count=1) if _FILLER.match(text) else text
    return text


def _after_copula(text: str) -> Iterator[str]:
    verbs = list(COPULA.finditer(text))
    if verbs and not _DOUBT.search(text[: verbs[-1].start()]):
        for verb in (verbs[-1], verbs[0])[: len(verbs)]:
            yield text[verb.end() :].strip(" :,")
    # "The length of BC = 3 + 9 = 12 cm", but an equation alone keeps its name.
    subject, equals, value = text.rpartition("=")
    if equals and re.search(r"[A-Za-z]{4,}|=", subject) and not _DOUBT.search(subject):
        yield value.strip()
