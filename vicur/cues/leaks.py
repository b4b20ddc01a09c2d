"""Detect cues that give the answer away.

A cue states what the image shows and leaves the conclusion to the teacher. It may contain the answer as evidence: if the question is for
the larger of 7 and 5, "The red digit is 7 and the blue digit is 5" contains the answer 7 but reveals nothing beyond the image. So it
matters how the answer is stated. A cue *leaks* if, outside its statements of evidence,

- ``announced``: it mentions an answer, solution, result or box together with the answer ("Answer: 12", "option B");
- ``concluded``: the answer follows a word of consequence ("therefore ... 12", "so 12");
- ``computed``: the answer is the outcome of an operation ("7 plus 5 is 12", "7 + 5 = 12", "the sum is 12", "12 in total");
- ``asked``: the answer is the value of the requested quantity ("x = 12" if the question is for x, "2 are even" if it is for the
  number of even digits);
- ``judged``: the cue compares and the question requests a comparison ("the red digit is larger");
- ``beyond the evidence``: the example lists its evidence, which does not contain the answer, but the cue does.

A statement of evidence is "<subject> <verb> <values>" about a subject known to the dataset, with the right number of values. A misread
value that equals the answer by chance is ungrounded, not a leak. Without listed evidence, a bare mention of the answer is not a leak,
because it cannot be distinguished from evidence. The rules err towards a leak: a description that resembles a conclusion ("the total is
12", read off a receipt) is shown on the page of samples.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vicur.cues.statements import canonical, clauses, stated_evidence, statement, truths

if TYPE_CHECKING:
    from vicur.data.schema import Example


@dataclass(frozen=True)
class Leak:
    """A cue that gives the answer away: the violated rule (listed above) and the clause that violates it."""

    rule: str
    clause: str


# These patterns match canonical text: lower case, numbers as digits.
_IS = (
    r"(?:\b(?:is|are|was|be|equals?|gives?|makes?|becomes?|yields?|comes\s+to|adds?\s+up\s+to|amounts\s+to)\b"
    r"|=|:|->|→)"
)
# Text between two related words. Bounded, so that matching takes linear time.
_NEAR = r"[^;]{0,200}?"
_FILLER = r"(?:(?:to|the|an?|exactly|equal|just|only|always)\s+)*"
_ANNOUNCEMENT = r"\b(?:answer|solution|result|conclusion|boxed)\b"
_CONSEQUENCE = (
    r"\b(?:therefore|thus|hence|consequently|accordingly|so|implies|implying|conclude|"
    r"it\s+follows|we\s+(?:get|have|find|obtain)|(?:which|that|this)\s+(?:gives|makes|means|yields))\b"
)
_OPERATION = (
    r"(?:\b(?:sum|total|difference|product|quotient|ratio|average|mean|median|remainder|plus|minus|times|multiplied|"
    r"divided\s+by|added|adding|subtract\w*)\b|\d\s*[-+*/×÷·]\s*\d)"
)
_COMPARATIVE = (
    r"(?:larg|great|bigg|small|high|low|long|short|tall|clos|near|old|young|wid|narrow|heavi|light|fast|slow|deep|thick)"
    r"(?:er|est)\b|\b(?:more|most|less|least|fewer|fewest|maximum|minimum|max|min|farther|farthest)\b"
)
_ASKS_TO_COMPARE = re.compile(
    rf"\b(?:which|who|whose|where)\b.*\b(?:{_COMPARATIVE})|^(?:is|are|does|do|has|have)\b.*\b(?:{_COMPARATIVE})"
    rf"|\bwhat\s+(?:\w+\s+)?(?:is|are|has|have)\s+(?:the\s+)?(?:{_COMPARATIVE})"
)
_COMPARES = re.compile(
    rf"\b(?:is|are|has|have)\s+(?:the\s+)?(?:{_COMPARATIVE})"
    rf"|\b(?:{_COMPARATIVE})(?:\s+1|\s+of\b.*?)?\s*(?:\b(?:is|are)\b|[:=])"
)
_ASKS_FOR = re.compile(
    r"\b(?:what(?:'s|\s+is|\s+are)|find|determine|calculate|compute|evaluate|solve\s+for|give|state)\s+"
    r"(?P<thing>[^?.!;]+)"
)
_ASKS_TO_COUNT = re.compile(
    r"\b(?:how\s+many|(?:the\s+)?number\s+of)\s+(?P<things>[^?.!;,]+?)"
    r"(?=\s+(?:is|are|do|does|can|have|has|in|on)\b|$|[?.!;,])"
)
_OF_WHAT = re.compile(r"^(?:the\s+)?(?:value|length|size|measure|area|number)\s+of\s+")
_TAIL = re.compile(r"\s+(?:of|in|on|at|from|between|for|with|that|which|if|when)\b.*$")


def find_leak(cue: str, example: Example) -> Leak | None:
    """Return the first way in which ``cue`` gives the example's answer away, or ``None``. Accepts any text."""
    known = truths(example)
    rest = []
    for clause in clauses(canonical(cue)):
        stated = statement(clause)
        # Evidence cannot leak. Its values need not be right: a misread value is ungrounded instead.
        if stated is None or len(stated.values) != len(known.get(stated.subject, ())):
            rest.append(clause)
    if not rest:
        return None
    question = canonical(example.question)
    answer, letter = _answer(example)
    for clause in rest:
        rule = _broken_rule(clause, answer, letter, question)
        if rule is not None:
            return Leak(rule, clause)
    evidence = stated_evidence(example)
    if not evidence or answer is None or any(answer in values for values in evidence.values()):
        return None
    beyond = [clause for clause in rest if _mention(answer).search(clause)]
    return Leak("beyond the evidence", beyond[0]) if beyond else None


def _broken_rule(clause: str, answer: str | None, letter: str | None, question: str) -> str | None:
    """Return the rule that a clause violates, if any."""
    if _ASKS_TO_COMPARE.search(question) and _COMPARES.search(clause):
        return "judged"
    if letter is not None and _letter_pattern(letter).search(clause):
        return "announced"
    if answer is None or _mention(answer).search(clause) is None:
        return None
    for rule, pattern in _rules(answer):
        if pattern.search(clause):
            return rule
    return "asked" if any(pattern.search(clause) for pattern in _answers_question(question, answer)) else None


def _answer(example: Example) -> tuple[str | None, str | None]:
    """Return the answer's canonical text, and its letter if it is one of the choices."""
    letters = [chr(ord("A") + place) for place in range(len(example.choices))]
    if example.answer in example.choices:
        place = example.choices.index(example.answer)
    elif example.answer in letters:
        place = letters.index(example.answer)
    else:
        return _bare(example.answer), None
    return _bare(example.choices[place]), letters[place].casefold()


def _bare(answer: str) -> str | None:
    """Return an answer in canonical form without box and full stop, or ``None`` if nothing is left."""
    return re.sub(r"^\\boxed\s*\{(.*)\}$", r"\1", canonical(answer)).strip().rstrip(".").strip() or None


def _answer_pattern(answer: str) -> str:
    """Match the answer as a separate word: not within a longer word or number, and not as a negative number."""
    words = r"\s+".join(re.escape(word) for word in answer.split())
    return rf"(?<![\w.])(?<!(?<!\d)-){words}(?!\w|[.,]\d)"


@lru_cache(maxsize=4096)
def _mention(answer: str) -> re.Pattern[str]:
    return re.compile(_answer_pattern(answer))


@lru_cache(maxsize=4096)
def _rules(answer: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    pattern = _answer_pattern(answer)
    return (
        ("announced", re.compile(_ANNOUNCEMENT)),
        ("concluded", re.compile(rf"{_CONSEQUENCE}{_NEAR}{pattern}")),
        (
            "computed",
            re.compile(
                rf"{_OPERATION}{_NEAR}{_IS}\s*{_FILLER}{pattern}"
                rf"|\b(?:sum|total|difference|product|average|mean)\s+of\s+{pattern}(?!\s*(?:,|and\b|[-+*/]))"
                rf"|\b(?:totals?|totalling|totaling|adds?\s+up\s+to|amounts?\s+to)\s+{pattern}"
                rf"|{pattern}\s*{_IS}{_NEAR}{_OPERATION}"
                rf"|{pattern}\s+(?:in\s+total|altogether|in\s+all)\b"
            ),
        ),
    )


@lru_cache(maxsize=512)
def _letter_pattern(letter: str) -> re.Pattern[str]:
    """Match clauses that name the choice with this letter as the right one; "option B shows a cat" does not match."""
    link = r"\W*(?:(?:is|the|option|choice)\W+)*"
    return re.compile(
        rf"\b(?:answer|solution|select|choose|pick|boxed|(?:correct|right)\s+(?:option|choice|one)){link}{letter}(?!\w)"
        rf"|(?<!\w){letter}\W+is\s+(?:the\s+)?(?:correct|right|true|answer)\b"
    )


@lru_cache(maxsize=4096)
def _answers_question(question: str, answer: str) -> tuple[re.Pattern[str], ...]:
    """Return patterns that state the answer as the value or count that the question requests."""
    stated = _answer_pattern(answer)
    patterns = []
    for match in _ASKS_FOR.finditer(question):
        thing = re.sub(r"^(?:the|an?)\s+", "", match["thing"].strip())
        bare = _OF_WHAT.sub("", thing)
        for name in {n for n in (thing, bare, _TAIL.sub("", thing), _TAIL.sub("", bare)) if n}:
            named = rf"(?<!\w){re.escape(name)}(?!\w)"
            patterns += [rf"{named}{_NEAR}{_IS}\s*{_FILLER}{stated}", rf"{stated}\s+(?:is|are|=)\s+(?:the\s+)?{named}"]
    for match in _ASKS_TO_COUNT.finditer(question):
        things = match["things"].strip()
        *modifiers, _ = things.split()
        of_them = r"(?:\s+of\s+(?:them|these|those|the\s+\w+(?:\s+\w+)?))?"
        patterns += [
            rf"{stated}{of_them}\s+{re.escape(things)}(?!\w)",
            rf"{re.escape(things)}\s*{_IS}\s*{_FILLER}{stated}",
        ]
        patterns += [rf"{stated}{of_them}\s+(?:is|are)\s+{re.escape(word)}(?!\w)" for word in modifiers]
        patterns += [rf"there\s+(?:is|are)\s+{_FILLER}{stated}\s+{re.escape(things.split()[-1])}(?!\w)"]
    return tuple(re.compile(pattern) for pattern in patterns)
