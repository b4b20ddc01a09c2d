"""Whether a cue gives the answer away.

A cue is to say what is seen and to leave the conclusion to the teacher. The answer may well stand in it, where it is
evidence: asked for the larger of 7 and 5, "The red digit is 7 and the blue digit is 5" holds the answer 7 and gives
nothing away that the image does not show. So what counts is how the answer is said. A cue *leaks* if, outside its
statements of evidence,

- ``announced``: it speaks of the answer, the solution, the result or a box, and says it ("Answer: 12", "option B");
- ``concluded``: the answer follows a word of consequence ("therefore ... 12", "so 12");
- ``computed``: it is the outcome of an operation ("7 plus 5 is 12", "7 + 5 = 12", "the sum is 12", "12 in total");
- ``asked``: it is said of the very thing that the question asks for ("x = 12" where x is to be found, "2 are even"
  where the even ones are to be counted);
- ``judged``: the cue compares where the question asks to compare ("the red digit is larger");
- ``beyond the evidence``: the example lists its evidence, the answer is none of it, and the cue says it all the same.

A statement of evidence is "<subject> <verb> <values>" of a subject that the dataset knows, with as many values as it
has. A misread value that happens to equal the answer is no leak but an ungrounded cue. Without listed evidence, a
bare mention of the answer is not a leak: nothing tells it from evidence. Where the rules err, they err towards a
leak: a description that they take for a conclusion ("the total is 12", read off a receipt) is shown on the page of
samples.
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
    """How a cue gives the answer away: the rule above that it breaks, and the clause that breaks it."""

    rule: str
    clause: str


_IS = (
    r"(?:\b(?:is|are|was|be|equals?|gives?|makes?|becomes?|yields?|comes\s+to|adds?\s+up\s+to|amounts\s+to)\b"
    r"|=|:|->|→)"
)
# What links two words of one thought; bounded, so that a long text takes no longer than its length.
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
    """The first way in which ``cue`` gives the example's answer away, or ``None``. Never fails, whatever the text."""
    known = truths(example)
    rest = []
    for clause in clauses(canonical(cue)):
        said = statement(clause)
        if said is None or len(said.values) != len(known.get(said.subject, ())):
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
    """The rule that a clause breaks by the way it says the answer, if it does."""
    if _ASKS_TO_COMPARE.search(question) and _COMPARES.search(clause):
        return "judged"
    if letter is not None and _letter_pattern(letter).search(clause):
        return "announced"
    if answer is None or _mention(answer).search(clause) is None:
        return None
    for rule, pattern in _rules(answer):
        if pattern.search(clause):
            return rule
    return "asked" if any(pattern.search(clause) for pattern in _asked(question, answer)) else None


def _answer(example: Example) -> tuple[str | None, str | None]:
    """The text that says the answer in a canonical cue, and its letter if it is one of several choices."""
    letters = [chr(ord("A") + place) for place in range(len(example.choices))]
    if example.answer in example.choices:
        place = example.choices.index(example.answer)
    elif example.answer in letters:
        place = letters.index(example.answer)
    else:
        return _bare(example.answer), None
    return _bare(example.choices[place]), letters[place].casefold()


def _bare(answer: str) -> str | None:
    """An answer in canonical form, out of its box and without full stop, if anything is left of it."""
    return re.sub(r"^\\boxed\s*\{(.*)\}$", r"\1", canonical(answer)).strip().rstrip(".").strip() or None


def _said(answer: str) -> str:
    """A pattern for the answer as a word of its own: not within a longer word or number, nor as a negative number."""
    words = r"\s+".join(re.escape(word) for word in answer.split())
    return rf"(?<![\w.])(?<!(?<!\d)-){words}(?!\w|[.,]\d)"


@lru_cache(maxsize=4096)
def _mention(answer: str) -> re.Pattern[str]:
    return re.compile(_said(answer))


@lru_cache(maxsize=4096)
def _rules(answer: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    said = _said(answer)
    return (
        ("announced", re.compile(_ANNOUNCEMENT)),
        ("concluded", re.compile(rf"{_CONSEQUENCE}{_NEAR}{said}")),
        (
            "computed",
            re.compile(
                rf"{_OPERATION}{_NEAR}{_IS}\s*{_FILLER}{said}"
                rf"|\b(?:sum|total|difference|product|average|mean)\s+of\s+{said}(?!\s*(?:,|and\b|[-+*/]))"
                rf"|\b(?:totals?|totalling|totaling|adds?\s+up\s+to|amounts?\s+to)\s+{said}"
                rf"|{said}\s*{_IS}{_NEAR}{_OPERATION}"
                rf"|{said}\s+(?:in\s+total|altogether|in\s+all)\b"
            ),
        ),
    )


@lru_cache(maxsize=512)
def _letter_pattern(letter: str) -> re.Pattern[str]:
    """Says that the choice of this letter is the right one; "option B shows a cat" does not."""
    link = r"\W*(?:(?:is|the|option|choice)\W+)*"
    return re.compile(
        rf"\b(?:answer|solution|select|choose|pick|boxed|(?:correct|right)\s+(?:option|choice|one)){link}{letter}(?!\w)"
        rf"|(?<!\w){letter}\W+is\s+(?:the\s+)?(?:correct|right|true|answer)\b"
    )


@lru_cache(maxsize=4096)
def _asked(question: str, answer: str) -> tuple[re.Pattern[str], ...]:
    """Patterns that say the answer of what the question asks for."""
    said = _said(answer)
    patterns = []
    for match in _ASKS_FOR.finditer(question):
        thing = re.sub(r"^(?:the|an?)\s+", "", match["thing"].strip())
        bare = _OF_WHAT.sub("", thing)
        for name in {n for n in (thing, bare, _TAIL.sub("", thing), _TAIL.sub("", bare)) if n}:
            named = rf"(?<!\w){re.escape(name)}(?!\w)"
            patterns += [rf"{named}{_NEAR}{_IS}\s*{_FILLER}{said}", rf"{said}\s+(?:is|are|=)\s+(?:the\s+)?{named}"]
    for match in _ASKS_TO_COUNT.finditer(question):
        things = match["things"].strip()
        *modifiers, _ = things.split()
        of_them = r"(?:\s+of\s+(?:them|these|those|the\s+\w+(?:\s+\w+)?))?"
        patterns += [rf"{said}{of_them}\s+{re.escape(things)}(?!\w)", rf"{re.escape(things)}\s*{_IS}\s*{_FILLER}{said}"]
        patterns += [rf"{said}{of_them}\s+(?:is|are)\s+{re.escape(word)}(?!\w)" for word in modifiers]
        patterns += [rf"there\s+(?:is|are)\s+{_FILLER}{said}\s+{re.escape(things.split()[-1])}(?!\w)"]
    return tuple(re.compile(pattern) for pattern in patterns)
