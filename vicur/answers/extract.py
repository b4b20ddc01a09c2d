r"""Extract the final answer from a response.

Two extractors share these forms: ``Answer: X`` (also "the answer is X"), ``\boxed{X}``, ``<answer>X</answer>``, ``{"answer": "X"}``, a
last line ``#### X``, and a heading ``### Final Answer`` with X below it. The lenient one (:func:`extract_answer`) serves evaluation; the
strict one (:mod:`vicur.answers.strict`) serves rewards, which a student would otherwise learn to exploit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vicur.answers.forms import (
    BOX,
    MARKERS,
    THOUGHT_END,
    Form,
    form_texts,
)
from vicur.answers.notation import visible
from vicur.answers.statements import COPULA, is_doubtful, without_reason

_BARE_WORDS = 3
_LONG_BARE_WORDS = 10
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CONCLUSION = re.compile(
    r"[*_#\s]*(?:therefore|thus|hence|so|in conclusion|in summary|to conclude|consequently|as a result|finally|∴)\b[*_]*,?\s+"
    r"(?P<statement>.+)",
    re.IGNORECASE | re.DOTALL,
)
_BARE_STATEMENT = re.compile(
    r"(?:there (?:is|are)|it is|it's|its|they are|they're|this is|that is|these are|(?:yes|no)\s?[,;:.–—-])\s+\S",
    re.IGNORECASE,
)
_NAMED_LAST = re.compile(
    r"(?:^|(?<=[\s*_(]))(?:option |choice )?(?P<answer>\(?[A-Z]\)?|-?\d[\d.,]*|\$[^$\n]{1,60}\$)[*_]{0,3} is (?:the|my|our) "
    r"(?:final |correct |right |best )?(?:answer|choice|option)\b|(?:^|(?<=[\s*_]))(?:option |choice )(?P<option>\(?[A-Z]\)?)[*_]{0,3} is "
    r"(?:the )?(?:correct|right|best)\b|\bI (?:would )?(?:choose|pick|select|go with) (?:option |choice )?(?P<picked>\(?[A-Z]\)?)(?![\w'])",
    re.IGNORECASE,
)
# A line with the answer, and its explanation below it
_EXPLAINED = re.compile(
    r"(?P<answer>[^\n]{1,200}?)\s*\n\W{0,8}(?:explanation|reason(?:ing|s)?|rationale|justification|because|why)\b",
    re.IGNORECASE,
)
_REASONED = re.compile(r"[*_]{0,3}(?P<answer>\(?[A-Z](?:\)|[.:])?)[*_]{0,3},? (?:because|since)\b")
_LETTERED = re.compile(r"\(?[A-Z](?:[).:]|$)")
_OR = re.compile(r"\W{0,12}(?:or|and/or)\W{0,12}", re.IGNORECASE)
_AND = re.compile(r"[\s$,;]{0,6}(?:(?:and|,|;)[\s$]{1,6})?(?:[a-z]\s?=\s?)?", re.IGNORECASE)
_DOUBT_BEHIND = re.compile(
    r"\W{0,12}(?:or\b|alternatively\b|maybe\b|perhaps\b|possibly\b|but (?:it )?(?:could|might|may)\b"
    r"|(?:it )?(?:could|might|may) (?:also )?be\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """An answer that a response states in one of the forms, with the place of the form in the response."""

    text: str
    form: Form
    start: int
    end: int


def extract_answer(response: str) -> str | None:
    r"""Return the final answer that ``response`` states, without surrounding markup, or ``None`` (the lenient extractor).

    The last statement counts. Without one, the conclusion ("Therefore, the length of BC is 12 cm.") or a short response that is nothing but
    an answer counts.
    """
    text = visible(response).rpartition(THOUGHT_END)[2]
    found = statements(text)
    if found:
        last = joined(found, text)
        return None if doubt_follows(text, found[-1]) and last == found[-1].text else last
    if any(pattern.search(text) for pattern in MARKERS):
        return None
    return (
        _explained(text) or _named_at_the_end(text) or bare_answer(text) or _conclusion(text) or _long_bare_answer(text)
    )


def framed_answer(gold: str) -> str | None:
    """Return the answer inside a dataset's answer if it is written like a response, or ``None``."""
    found = statements(gold)
    return joined(found, gold) if found else None


def statements(text: str) -> list[Statement]:
    """Return the answers that ``text`` states in one of the forms, in order. Empty ones are left out."""
    found = [
        Statement(answer, form, start, end)
        for form, start, end, raw in form_texts(text)
        if (answer := without_markup(raw))
    ]
    return found if len(found) < 2 else sorted(found, key=lambda each: (each.start, each.end))


def joined(found: list[Statement], text: str) -> str:
    r"""Return the last statement, together with boxes before it in the same sentence: ``\boxed{1} or \boxed{3}`` is one answer."""
    answer, last = found[-1].text, found[-1]
    for before in reversed(found[:-1]):
        gap = text[before.end : last.start]
        if not (before.form == last.form == BOX and len(gap) < 40):
            break
        is_or = _OR.fullmatch(gap) is not None
        if not is_or and not (gap.strip() and _AND.fullmatch(gap)):
            break
        answer, last = f"{before.text} {'or' if is_or else 'and'} {answer}", before
    return answer


def doubt_follows(text: str, statement: Statement) -> bool:
    """Return whether the response takes a statement back at once: "Answer: 5. Or maybe 6."."""
    return _DOUBT_BEHIND.match(text[statement.end : statement.end + 60]) is not None


def bare_answer(text: str) -> str | None:
    """Return a response of up to three words, which is itself the answer."""
    return (without_markup(text) or None) if 0 < len(text.split()) <= _BARE_WORDS else None


def _explained(text: str) -> str | None:
    """Return the answer that a response begins with if its explanation follows: up to three words, or a letter with its text."""
    text = text.strip()
    if reasoned := _REASONED.match(text):
        return without_markup(reasoned["answer"])
    found = _EXPLAINED.match(text)
    answer = without_markup(found["answer"]) if found else ""
    is_short = _LETTERED.match(answer) is not None or 0 < len(answer.split()) <= _BARE_WORDS
    return answer if is_short and not is_doubtful(answer) else None


def _named_at_the_end(text: str) -> str | None:
    """Return the answer of a sentence such as "B is the correct answer" at the end of the response."""
    sentences = [sentence for sentence in _SENTENCE.split(text.strip()[-300:]) if sentence]
    named = _NAMED_LAST.search(sentences[-1]) if sentences else None
    return without_markup(named["answer"] or named["option"] or named["picked"]) if named else None


def _conclusion(text: str) -> str | None:
    """Return the value that the last sentence states, if it draws the conclusion or is all there is."""
    sentences = [sentence for sentence in _SENTENCE.split(text.strip()[-2000:]) if sentence.strip(" \t*_#$\\]")]
    if not sentences:
        return None
    last = sentences[-1].strip()
    concluded = _CONCLUSION.fullmatch(last)
    if concluded is None:
        return (
            without_markup(last)
            if len(sentences) == 1 and _BARE_STATEMENT.match(last) and not is_doubtful(last)
            else None
        )
    statement = without_markup(without_reason(without_markup(concluded["statement"])))
    if is_doubtful(statement):
        return None
    return statement if COPULA.search(statement) or re.search("[=<>≤≥≈]", statement) else None


def _long_bare_answer(text: str) -> str | None:
    """Return a single line without a verb, such as ``x = 1 or x = 3`` or "between 3 and 5 cm"."""
    answer = without_markup(text)
    is_short = len(answer.split()) <= _LONG_BARE_WORDS and "\n" not in answer
    return answer if answer and is_short and not COPULA.search(answer) and not re.search(r"[.!?]\s", answer) else None


_DELIMITERS = (('"', '"'), ("“", "”"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_WRAPPER = re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")


def without_markup(answer: str) -> str:
    """Strip emphasis, quotes, formula delimiters and the full stop around ``answer``."""
    answer = answer.strip()
    if answer.isalnum():
        return answer
    # Markup nests in any order ("**$x$.**"), so strip until nothing changes.
    previous = None
    while answer != previous:
        previous = answer
        answer = answer.strip().strip("*_` \t\n")
        answer = answer if answer.endswith("..") else answer.removesuffix(".").removesuffix(",").removesuffix("。")
        for opening, closing in _DELIMITERS:
            inner = answer[len(opening) : -len(closing)]
            if len(answer) > len(opening) + len(closing) and answer.startswith(opening) and answer.endswith(closing):
                # "$x = 1$ or $x = 3$" is two formulas.
                answer = answer if opening.startswith("$") and "$" in inner else inner
        if box := _WRAPPER.fullmatch(answer):
            answer = box[1]
    return answer.strip()
