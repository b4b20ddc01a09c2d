"""Compare answers in words: without case, accents, articles, punctuation and the plural."""

from __future__ import annotations

import re
import unicodedata

# A hyphen joins words only between letters: elsewhere it is a sign.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+|(?<![^\W\d_])-|-(?![^\W\d_])|[^\s\w.,;:!?\"'()\[\]-]|_")
_FUNCTION = frozenset(
    re.findall(
        "[a-z]+", "sin cos tan cot sec csc log ln exp sqrt arcsin arccos arctan pi frac begin end pmatrix bmatrix"
    )
)
_LONG = re.compile(r"[^\W\d_]{2,}")  # matches the ending of "1st" too
_IRREGULAR = {"men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth"}
_IRREGULAR |= {
    "mice": "mouse",
    "geese": "goose",
    "leaves": "leaf",
    "knives": "knife",
    "shelves": "shelf",
    "grey": "gray",
}
_ORDINALS = {"first": "1st", "second": "2nd", "third": "3rd", "fourth": "4th", "fifth": "5th", "sixth": "6th"}
_ORDINALS |= {"seventh": "7th", "eighth": "8th", "ninth": "9th", "tenth": "10th", "eleventh": "11th", "twelfth": "12th"}
_ARTICLES = ("a", "an", "the")
# "on the left side" is "left".
_DIRECTIONS = ("left", "right", "top", "bottom", "upper", "lower", "front", "back", "north", "south", "east", "west")
_PLACES = ("on", "in", "at", "to", "from")


def singular(word: str) -> str:
    """Return the singular of a lower-case English noun."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes", "oes")):
        return word[:-2]
    return word[:-1]


def is_prose(text: str) -> bool:
    """Return whether ``text`` contains words, rather than numbers, variables and functions only."""
    return any(word.casefold() not in _FUNCTION for word in _LONG.findall(text))


def same_words(gold: str, stated: str) -> bool:
    """Return whether two texts have the same words. Without words, they must have the same signs too."""
    if not (is_prose(gold) and is_prose(stated)):
        return signs(gold.removeprefix("the ")) == signs(stated.removeprefix("the "))
    left, right = _words(gold), _words(stated)
    if left == right or not (left and right):
        return bool(left) and left == right
    # "on the left" is "left", but not "in the left".
    if (left[0] in _PLACES) != (right[0] in _PLACES):
        left, right = (_words(" ".join(side[1:] if side[0] in _PLACES else side)) for side in (left, right))
    if [singular(word) for word in left] == [singular(word) for word in right]:
        return bool(left)
    return ("-" in gold or "-" in stated) and _is_word(left) and "".join(left) == "".join(right)


def signs(text: str) -> str:
    """Return a text without words for comparison: ``H_2O`` is ``H2O``."""
    return re.sub(r"_(?:\{(\w+)\}|(?=\w))", r"\1", re.sub(r"(?<!\w) | (?!\w)", "", text.casefold()))


def _is_word(words: list[str]) -> bool:
    return all(word.isalpha() for word in words)


def _words(text: str) -> list[str]:
    folded = text.casefold().replace("'", "")
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    folded = folded.replace("△", "triangle ").replace("∠", "angle ")
    words = [_ORDINALS.get(word, word) for word in _TOKEN.findall(folded) if word != "the"]
    while len(words) > 1 and words[0] in _ARTICLES:
        del words[0]
    if len(words) > 1 and words[-1] == "side":
        direction = words[:-2] if words[-2] == "hand" else words[:-1]
        words = direction if direction and direction[-1] in _DIRECTIONS else words
    return words or _TOKEN.findall(folded)
