"""Detect cues that repeat the question with the answer in its place, and cues that count what the question counts."""

from __future__ import annotations

import re

from vicur.cues.leak_patterns import FILLER, IDENTIFIES, IS, LEADING_TRUTH, NEGATED, READS, UP_TO_VERB, A
from vicur.cues.marking import Marked
from vicur.cues.options import mentioned_choices
from vicur.cues.wordings import content, stem, tokens

_KIND = re.compile(r"\b(?:which|what)\s+(?P<kind>[a-z]+)")
_NAMES = re.compile(rf"\b(?:called|named|known\s+as)\s+(?:the\s+)?{A}")
_SINGLED_OUT = re.compile(
    rf"{A}\s+(?:is|are|was|were)\s+the\s+(?:1|one|ones|only)\b"
    rf"|\bit\s+(?:is|was)\s+(?:the\s+)?{A}\s+(?:\w+\s+)?(?:that|who|which)\b"
)
_OPERATION = re.compile(
    r"\b(?:sum|total|difference|product|quotient|ratio|average|mean|median|altogether|plus|minus|times|divided)\b"
)
_EXTENT = re.compile(rf"{A}\s+(?:[a-z]+\s+)?(?:wide|deep|high|long|tall|thick|across)\b")
_VERDICT = re.compile(
    r"\b(?:statement|claim|assertion|sentence|proposition|it|that|this)\s+(?:is|was|would\s+be)\s+(?P<not>not\s+)?(?P<truth>true|correct|right"
    r"|false|wrong|untrue|incorrect)\W*$"
)
_STILL = frozenset(map(stem, ("still", "yet", "already", "ever")))


def counts(marked: Marked) -> bool:
    """Return whether a clause states the number of the things that the question counts."""
    subject, text = marked.subject, marked.text
    if subject.counts is None or subject.gold.value is None:
        return False
    # "The bottom row holds 0, 1 and 9" lists values.
    if re.search(rf"{A}\s*(?:,|and\b|\|)\s*\d|\d\s*(?:,|and\b|\|)\s*{A}", text):
        return False
    if _EXTENT.search(text):
        return False
    words = [
        word
        for word in tokens(subject.counts)
        if word not in ("are", "is", "there", "in", "the", "of", "on", "do", "does")
    ]
    if not words:
        return marked.overlap >= 0.5
    things = UP_TO_VERB.split(subject.counts)[0].strip() or subject.counts
    behind = re.search(rf"{A}(?:\s+of\s+(?:them|these|those|the|all))?\s+(?P<words>[^,;]{{1,60}})", text)
    following = content(" ".join(tokens(behind["words"])[:5])) if behind else frozenset()
    before = {stem(word) for word in tokens(text[: text.index(A)])}
    asked = content(things) or {stem(words[0])}
    if re.search(rf"(?:{IS}|\b(?:number|count)\b)\s*{FILLER}{A}\W*$", text) and asked & before:
        return not READS.search(text) or len(asked & before) >= len(asked)
    head = stem(words[0])
    if behind is None or not (following & asked or head in following or marked.overlap >= 0.5):
        return head in before and marked.overlap >= 0.5 and re.search(rf"{A}\s*(?:times|\W*$)", text) is not None
    others = following - asked - {head}
    return marked.overlap >= 0.5 or len(following & asked) >= max(1, len(asked) // 2) or not others


def settles(marked: Marked) -> bool:
    """Return whether a clause answers a question for yes or no, or repeats it as a statement."""
    subject, text = marked.subject, marked.text
    if not subject.is_truth:
        return False
    if verdict := _VERDICT.search(text):
        denied = verdict["not"] is not None
        said = (verdict["truth"] in ("true", "correct", "right")) is not denied
        return subject.gold.truth is None or subject.gold.truth == said
    leading = LEADING_TRUTH.match(text)
    if leading:
        return subject.gold.truth is None or subject.gold.truth == (leading["truth"] in ("yes", "true"))
    about = subject.about - _STILL
    if subject.gold.truth is False and NEGATED.search(text) and not READS.search(text):
        return len(about & marked.content) >= max(2, len(about) * 2 / 3)
    is_true = subject.gold.truth is not None
    return is_true and len(subject.about) >= 2 and about <= marked.content and not READS.search(text)


def restates(marked: Marked) -> bool:
    """Return whether a clause says that the answer, which the image does not show as text, is what the question asks for."""
    subject, text, gold = marked.subject, marked.text, marked.subject.gold
    if gold.value is not None or gold.truth is not None or (gold.choices and mentioned_choices(marked) > 1):
        return False
    if marked.overlap >= 0.5 and len(marked.stems) > len(gold.stems):
        return subject.visible.text is not None or (len(subject.about) >= 2 and IDENTIFIES.search(text) is not None)
    named = IDENTIFIES.search(text)
    if (
        named
        and re.match(r"(?:shows?|depicts?|illustrates?)\b", named[0])
        and not (marked.overlap or re.match(r"\W*(?:it|this|that)\b", text))
    ):
        named = None
    return subject.visible.text is not None and (
        named is not None or (len(content(gold.text)) >= 2 and bool(gold.choices))
    )


def repeats_question(marked: Marked) -> bool:
    """Return whether a clause states the answer in the question's words, or as the one that it asks for.

    This is for images of which nothing is known: there, a value that is read off, or that is listed among others, is evidence.
    """
    subject, text, gold = marked.subject, marked.text, marked.subject.gold
    if subject.visible.is_known or subject.counts is not None or gold.truth is not None or READS.search(text):
        return False
    # "A dog stands on the left" describes what is there.
    if (gold.choices and mentioned_choices(marked) > 1) or (gold.value is None and re.search(rf"\ban?\s+{A}", text)):
        return False
    if _SINGLED_OUT.search(text) or ("name" in tokens(subject.question) and _NAMES.search(text)):
        return True
    if gold.value is not None and any(not gold.is_value(each.value) for each, _, _ in marked.numbers):
        return False
    if gold.choices and gold.value is None and sum(not word.isdigit() for word in content(gold.text)) >= 2:
        return True
    # "The blue digit is 8" is evidence for a sum, even if that happens to be 8. "The sum is 8" is not.
    if gold.value is not None and _OPERATION.search(subject.question) and not _OPERATION.search(text):
        return False
    kind = _KIND.search(subject.question)
    about = subject.about - set(gold.stems) - ({stem(kind["kind"])} if kind else set())
    if subject.compares or not about:
        return False
    said = [word for word in marked.content if word not in gold.stems]
    return sum(any(_is_related(word, each) for each in said) for word in about) >= len(about) / 2


def _is_related(word: str, other: str) -> bool:
    # "sign" and "signature".
    return word == other or (min(len(word), len(other)) >= 4 and (word.startswith(other) or other.startswith(word)))
