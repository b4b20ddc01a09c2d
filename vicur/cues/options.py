"""Detect cues that name the right choice: by its letter, by its place in the list, or by exclusion of all others."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache

from vicur.answers.choices import choice_texts
from vicur.cues.marking import Marked
from vicur.cues.wordings import contains, content, stems

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NOUN = r"(?:options?|choices?|alternatives?|candidates?|answers?|letters?|possibilit(?:y|ies))"
_VERDICT = (
    r"(?:answer|solution|correct|right|select|choose|chosen|choosing|pick|picking|go(?:es|ing)?\s+with|opt\s+for"
    r"|boxed|must\s+be|"
    r"can\s+only\s+be|has\s+to\s+be|should\s+be|would\s+be|matches|corresponds\s+to|agrees\s+with|points\s+to|leaves"
    r"|best)"
)
_HOLDS = (
    r"(?:is\s+(?:the\s+)?(?:correct|right|true|best|one|only|answer|it|what|valid)|fits|works|matches|agrees|follows"
    r"|holds(?=\s+true\b|\W*$)|completes|satisfies|"
    r"applies|remains|is\s+left|wins|must\s+be|it\s+is)\b"
)
_NEGATION = re.compile(
    r"\b(?:not|neither|nor|no|none|never|cannot|without|ruled?\s+out|eliminat\w+|exclud\w+|incorrect|wrong|except"
    r"|excepting|unlike|discard\w*|"
    r"false|fails?|impossible|reject\w*|drops?\s+out|out)\b|n't\b",
    re.IGNORECASE,
)
_ALL_BUT = (
    r"\b(?:all|every\w*|any\w*|none|nothing)(?:\s+(?:of\s+)?(?:the\s+)?\w+){0,2}\s+(?:but|except(?:\s+for)?"
    r"|other\s+than|besides)\s+"
)


def names_right_choice(marked: Marked) -> bool:
    """Return whether a clause names the letter or the place of the right choice as the one that holds."""
    gold = marked.subject.gold
    if gold.place is None or gold.place >= len(string.ascii_uppercase):
        return False
    plain = marked.clause.plain
    by_letter, by_place = _patterns(gold.place, len(gold.choices))
    if by_place.search(plain):
        return True
    match = by_letter.search(plain)
    if match is None:
        return False
    others = [letter for n, letter in enumerate(string.ascii_uppercase[: len(gold.choices)]) if n != gold.place]
    # "The options are A, B, C and D" names none of them.
    return not re.search(rf"(?<!\w)(?:{'|'.join(others)})(?!\w)", match[0]) if others else True


def excluded_choices(marked: Marked) -> frozenset[int]:
    """Return the choices that a clause rules out."""
    gold = marked.subject.gold
    if not gold.choices or len(gold.choices) > len(string.ascii_uppercase) or not _NEGATION.search(marked.clause.plain):
        return frozenset()
    texts = _choice_stems(gold.choices)
    found = set()
    # "It does not rain and no dog is heard": one distinctive word is enough where several things are denied.
    distinctive = _distinctive(gold.choices) if len(_NEGATION.findall(marked.clause.plain)) >= 2 else ()
    for place, letter in enumerate(string.ascii_uppercase[: len(gold.choices)]):
        named = re.search(rf"(?<![\w'])\(?{letter}\)?(?![\w'])", marked.clause.plain)
        words = content(" ".join(texts[place]))
        if (
            named
            or (texts[place] and contains(marked.stems, texts[place]) is not None)
            or (words and words <= marked.content)
        ) or (
            distinctive and distinctive[place] & marked.content and not distinctive[gold.place or 0] & marked.content
        ):
            found.add(place)
    return frozenset(found)


def mentioned_choices(marked: Marked) -> int:
    """Return the number of choices whose text a clause contains."""
    return sum(
        bool(text) and contains(marked.stems, text) is not None for text in _choice_stems(marked.subject.gold.choices)
    )


@lru_cache(maxsize=4096)
def _choice_stems(choices: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        stems(re.sub(r"^(?:the|an?)\s+(?=\w{2})", "", choice, flags=re.IGNORECASE)) for choice in choice_texts(choices)
    )


@lru_cache(maxsize=4096)
def _distinctive(choices: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """Return the words of each choice that no other one has."""
    words = [content(choice) for choice in choice_texts(choices)]
    return tuple(
        each.difference(*(other for n, other in enumerate(words) if n != place)) for place, each in enumerate(words)
    )


@lru_cache(maxsize=512)
def _patterns(place: int, count: int) -> tuple[re.Pattern[str], re.Pattern[str]]:
    letter = string.ascii_uppercase[place]
    # Flags cannot be set for a part of the letter's pattern only: an article "a" is not the choice A.
    bare = rf"[(\[]?(?-i:{letter})[)\]]?(?![\w'’-])"
    by_letter = (
        rf"\b{_VERDICT}\b(?:\W{{1,3}}(?:is|are|the|be|option|choice|letter|one|with|to|for|as|by|marked|labell?ed"
        rf"|therefore|must|clearly)\b)"
        rf"{{0,5}}\W{{0,4}}{bare}"
        rf"|(?<![\w'])(?:{_NOUN}\s+)?{bare}\W{{1,3}}{_HOLDS}"
        rf"|\b{_NOUN}\W{{0,3}}{bare}\s*(?:$|[.,;:!)]|{_HOLDS}|because\b|since\b|as\b)"
        rf"|\b{_NOUN}\b[^,;:]{{0,40}}?\b(?:is|are|must\s+be|be)\s+{bare}\s*(?:$|[.,;!])"
        rf"|{_ALL_BUT}(?:{_NOUN}\s+)?{bare}"
        rf"|^\W*{bare}\s*[.:)-]?\s*$"
        rf"|\b(?:which|this|that|so|hence|thus|therefore|it)\W+(?:it\s+)?(?:is|means|gives|leaves"
        rf"|makes)\W+(?:{_NOUN}\s+)?{bare}\W*$"
    )
    names = []
    if place < len(_ORDINALS):
        number = place + 1
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
        names = [_ORDINALS[place], f"{number}{ending}"]
        if place == count - 1:
            names += ["last", "final"]
    ordinal = "|".join(names) or "(?!)"
    cardinal = rf"{_CARDINALS[place]}|{place + 1}" if place < len(_CARDINALS) else "(?!)"
    by_place = (
        rf"\b(?:{ordinal})\s+(?:of\s+the\s+)?(?:(?:listed|given|proposed|answer|two|three|four|five|six|\d)\s+)*{_NOUN}\b(?!\s+(?:shows?"
        rf"|depicts?|contains?|reads|says|lists))"
        rf"|\b(?:option|choice|alternative|candidate)\s+(?:number\s+|no\.?\s*|#)?(?:{cardinal})\b(?!\s+(?:shows?"
        rf"|depicts?|contains?|reads|says|lists))"
        rf"|\b{_VERDICT}\W+(?:\w+\W+){{0,4}}?(?:{ordinal})\s+(?:one|figure|item|statement|picture|image|entry|panel"
        rf"|shape|of\b)"
        rf"|^\W*(?:it|this|that)\W+(?:i?s\W+)?(?:\w+\W+){{0,2}}?the\s+(?:{ordinal})\s+one\b"
        rf"|\b(?:{ordinal})\s+(?:one|figure|item|statement|picture|entry|panel|shape)\W+{_HOLDS}"
    )
    return re.compile(by_letter, re.IGNORECASE), re.compile(by_place, re.IGNORECASE)


def all_excluded(groups: Sequence[frozenset[int]], place: int | None, count: int) -> bool:
    """Return whether the clauses of a cue together rule out all choices but the right one."""
    if place is None or count < 2:
        return False
    excluded = frozenset().union(*groups)
    return place not in excluded and len(excluded) == count - 1
