"""Decide by content, not by form, if a clause entails the answer, given what the question is about.

A clause entails the answer if it says of the thing that the question is about what the question requests: it connects exactly one of the
choices, the right one, to that thing ("The snake feeds on the mouse" for "Which organism is eaten by the snake?"), or has all words of
the right choice and of no other ("He then pours himself a glass of milk"). Positions and arrows only describe: "The mouse is to the left
of the snake", "An arrow runs from the mouse to the snake".
"""

from __future__ import annotations

import re
from functools import lru_cache

from vicur.answers.choices import choice_texts
from vicur.cues.leak_patterns import READS, SUPERIOR, A
from vicur.cues.marking import Marked
from vicur.cues.wordings import content

_DESCRIBES = re.compile(
    r"\b(?:left|right|above|below|under|over|beside|between|near|next\s+to|top|bottom|middle|cent(?:er|re)|corner|behind|in\s+front"
    r"|arrows?|lines?|connect\w*|links?|linked|joins?|box|boxes|drawn|shown|seen|visible|appears?|there\s+(?:is|are))\b"
)
_FOLLOWS = re.compile(
    rf"\b(?:second|2|2nd|runner-up|next)\b.{{0,40}}\b(?:behind|after|below|to|only\s+to)\s+(?:only\s+)?(?:the\s+)?{A}"
    rf"|\b(?:behind|short\s+of|trails?|trailing|lags?|outdone\s+by|surpassed\s+by|beaten\s+by|topped\s+by)\s+(?:only\s+)?(?:the\s+)?{A}"
)
_ALL_OTHERS = re.compile(
    r"\b(?:all|every|any|each)\s+(?:of\s+)?(?:the\s+)?(?:others?|rest)\b|\b(?:everyone|everything|anyone)\s+else\b"
)
_ONLY = re.compile(
    rf"\bonly\s+(?:the\s+|an?\s+)?{A}|{A}\s+(?:alone|only)\b|{A}.{{0,60}}\bthe\s+(?:others?|rest)\s+(?:do|does|did|is|are|was|were|has|have)\s*(?:not\b|n't)"
)
_KIND = re.compile(r"\b(?:which|what)\s+(?P<kind>[a-z]+)")
_RELATES = re.compile(
    r"\b(?:exceed\w*|surpass\w*|outnumber\w*|outweigh\w*|outsold|overt(?:ake|ook)\w*|above|below|over|under|(?:more|less|fewer|larger|smaller"
    r"|greater|higher|lower|longer|shorter|bigger|taller|older|younger|heavier|lighter|earlier|later)(?:\s+\w+){0,3}\s+than)\b"
)
_OPTION = r"\b(?:options?|choices?|answers?)\s+\(?{letter}\)?(?![\w'])"


def singles_out(marked: Marked) -> bool:
    """Return whether a clause says that something holds of the answer alone: "Only the Falcons qualify", "Falcons do; the others do not".

    Or it gives all other choices, and not the answer, the opposite of what the question requests.
    """
    gold, text = marked.subject.gold, marked.text
    if gold.value is not None or gold.truth is not None or READS.search(text) or not gold.choices:
        return False
    if marked.has_answer:
        return _ONLY.search(text) is not None
    words = _words(gold.choices)
    others = [each <= marked.content for place, each in enumerate(words) if place != gold.place and each]
    return (
        marked.subject.compares
        and len(others) >= 2
        and all(others)
        and SUPERIOR.search(text) is not None
        and not any(character.isdigit() for character in text)
    )


def settles_relation(marked: Marked) -> bool:
    """Return whether a clause puts the things of a yes-or-no question into the kind of relation that it requests."""
    subject, text = marked.subject, marked.text
    if not subject.is_truth or not _RELATES.search(subject.question) or not _RELATES.search(text):
        return False
    return len(subject.about & marked.content) >= 2 and not any(
        character.isdigit() for character in re.sub(r"\b\d{4}\b", "", text)
    )


def follows_answer(marked: Marked) -> bool:
    """Return whether a clause ranks the answer first: another one comes second to it, or it is compared with all others."""
    text = marked.text
    if not marked.subject.compares or not marked.has_answer or marked.subject.gold.value is not None:
        return False
    return _FOLLOWS.search(text) is not None or (
        _ALL_OTHERS.search(text) is not None and SUPERIOR.search(text) is not None
    )


def compares_option(marked: Marked) -> bool:
    """Return whether a clause gives the right choice, by its letter, the property that the question compares: "Option A is the largest"."""
    place = marked.subject.gold.place
    if place is None or place >= 26 or not marked.subject.compares:
        return False
    named = re.search(_OPTION.format(letter=chr(ord("A") + place)), marked.clause.plain, re.IGNORECASE)
    others = "".join(chr(ord("A") + n) for n in range(min(len(marked.subject.gold.choices), 26)) if n != place)
    return (
        named is not None
        and SUPERIOR.search(marked.text) is not None
        and not re.search(rf"(?<![\w'])[{others}](?![\w'])", marked.clause.plain)
    )


def entails_choice(marked: Marked, shown: bool) -> bool:
    """Return whether a clause has the words of the right choice and of no other, as a statement that answers the question.

    Args:
        shown: whether the answer is known to be visible.
    """
    subject, text = marked.subject, marked.text
    gold = subject.gold
    if gold.place is None or len(gold.choices) < 2 or gold.value is not None or READS.search(text):
        return False
    words = _words(gold.choices)
    right = words[gold.place]
    named = [place for place, each in enumerate(words) if each and each <= marked.content]
    if named != [gold.place] or any(
        each & marked.content for n, each in enumerate(words) if n != gold.place and not each & right
    ):
        return False
    if len(right) >= 2 and not shown:
        return True
    # The thing that the question is about has to be in the clause, and the clause must not only describe.
    kind = _KIND.search(subject.question)
    about = subject.about - right - (content(kind["kind"]) if kind else frozenset())
    about = about & frozenset(subject.visible.stems) or about
    return (
        shown
        and bool(about & marked.content)
        and not any(map(str.isdigit, marked.clause.plain))
        and not _DESCRIBES.search(text)
    )


@lru_cache(maxsize=4096)
def _words(choices: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    return tuple(content(choice) for choice in choice_texts(choices))
