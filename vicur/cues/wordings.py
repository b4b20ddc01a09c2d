"""Words of questions and cues, reduced to stems, so that "opens" and "opening" or "bars" and "bar" are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from vicur.answers.words import singular

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W_]+")
_STOP = frozenset(
    re.findall(
        "[a-z]+",
        "a an the this that these those it its they them their there here he she his her we you your i is are was"
        " were be been being am do "
        "does did done has have had will would can could may might shall should must of in on at to from by for with"
        " as and or but not no "
        "than then so if into onto over under about between among per each all both any some which what who whom"
        " whose when where why how "
        "many much more most less least one s t according given shown show shows see seen following find determine"
        " calculate compute give "
        "state please question answer value picture image figure photo diagram chart graph table plot map video"
        " document page scene number "
        "amount total based using only just also very after before up down out",
    )
)
_IRREGULAR = {
    "fell": "fall",
    "rose": "rise",
    "ran": "run",
    "went": "go",
    "goes": "go",
    "saw": "see",
    "sold": "sell",
    "left": "left",
    "forgot": "forget",
    "forgotten": "forget",
    "threw": "throw",
    "thrown": "throw",
    "took": "take",
    "taken": "take",
    "gave": "give",
    "given": "give",
    "ate": "eat",
    "eaten": "eat",
    "broke": "break",
    "broken": "break",
    "wrote": "write",
    "written": "write",
    "drove": "drive",
    "driven": "drive",
    "drank": "drink",
    "fallen": "fall",
    "flew": "fly",
    "held": "hold",
    "kept": "keep",
    "knew": "know",
    "known": "know",
    "made": "make",
    "met": "meet",
    "rode": "ride",
    "sat": "sit",
    "sent": "send",
    "slept": "sleep",
    "spoke": "speak",
    "stood": "stand",
    "swam": "swim",
    "thought": "think",
    "won": "win",
    "wore": "wear",
    "caught": "catch",
    "bought": "buy",
    "brought": "bring",
    "built": "build",
    "chose": "choose",
    "chosen": "choose",
    "came": "come",
    "drew": "draw",
    "drawn": "draw",
    "fed": "feed",
    "felt": "feel",
    "grew": "grow",
    "grown": "grow",
    "hid": "hide",
    "hidden": "hide",
    "lent": "lend",
    "paid": "pay",
    "stolen": "steal",
    "stole": "steal",
    "gone": "go",
    "began": "begin",
    "begun": "begin",
    "jan": "january",
    "feb": "february",
    "apr": "april",
    "aug": "august",
    "sept": "september",
    "sep": "september",
    "oct": "october",
    "nov": "november",
    "dec": "december",
}


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return the stem of a lower-case word."""
    if word.isdigit():
        return word.lstrip("0") or "0"
    word = _IRREGULAR.get(word, singular(word))
    for ending in ("ically", "ing", "ed", "ly", "ion", "ium", "um", "us"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    # "mitochondria" and "mitochondrion", "moves" and "moving".
    word = word.rstrip("aeiy") if len(word) > 4 else word
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def tokens(text: str) -> list[str]:
    """Return the words and numbers of a text in lower case, without accents."""
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return _TOKEN.findall(folded.replace("'s", " ").replace("’s", " "))


def stems(text: str) -> tuple[str, ...]:
    """Return the stems of all words of a text, in order."""
    return tuple(stem(word.replace(",", "")) for word in tokens(text))


@lru_cache(maxsize=8192)
def content(text: str) -> frozenset[str]:
    """Return the stems of the words of a text that say what it is about."""
    return frozenset(
        stem(word) for word in tokens(text) if word not in _STOP and (len(word) > 1 or word.isdigit() or word in "xyz")
    )


def contains(sequence: Sequence[str], part: Sequence[str]) -> int | None:
    """Return where ``part`` occurs in a sequence of stems, or ``None``."""
    size = len(part)
    if not size:
        return None
    for start in range(len(sequence) - size + 1):
        if tuple(sequence[start : start + size]) == tuple(part):
            return start
    return None
