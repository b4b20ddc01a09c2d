"""Normal form of the items of evidence: text without case, articles and punctuation."""

from __future__ import annotations

import re
import unicodedata

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = {word: str(number) for number, word in enumerate(_WORDS)}
_ARTICLES = re.compile(r"^(?:(?:the|an|a)\s+)+(?=\S)")
_SPACE = re.compile(r"\s+")
# Keeps the point of ".5", and strips exclamation marks only after a letter: "5!" is a different number than "5".
_OUTER = re.compile(r"^[\s,;:?*_`]+|[\s.,;:?*_`]+$|(?<=[^\W\d_])!+$")
_QUOTED = re.compile(r"""(["'])(.*)\1|[“‘«](.*)[”’»]""", re.DOTALL)


def normal_text(text: str) -> str:
    """Normalize ``text``: lower case, NFKC, number words as digits, without leading articles and outer punctuation."""
    text = _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    # Quotes and punctuation nest in any order, so strip until nothing changes.
    previous = None
    while text != previous:
        previous = text
        text = _OUTER.sub("", text)
        if quoted := _QUOTED.fullmatch(text):
            text = quoted[2] if quoted[1] else quoted[3]
    text = _ARTICLES.sub("", text)
    return _NUMBER_WORDS.get(text, text)
