"""Detect cues that give the answer away.

A cue states what the image shows and leaves the conclusion to the teacher. It may contain the answer as evidence: if the question is for
the larger of 7 and 5, "The red digit is 7 and the blue digit is 5" contains the answer 7 but reveals nothing beyond the image. So it
matters how the answer is stated. The answer is recognized by value, with the answer checker: 3.50 for 3.5, ``\\frac{2}{5}`` for 0.4,
"ninety-six" for 96 cm². A cue *leaks* if, outside its statements of evidence, one of these rules applies:

- ``judged``: it compares, and the question requests the comparison ("the red digit is larger", "the tallest bar is 2016");
- ``option``: it names the right choice by letter or place, or excludes all others;
- ``announced``: it mentions an answer, solution, result or box together with the answer ("Answer: 12");
- ``concluded``: the answer follows a word of consequence ("therefore ... 12", "so 12");
- ``computed``: the answer is the outcome of an operation ("7 plus 5 is 12", "12 in total"), or one step is left ("x = 25 - 13");
- ``asked``: the answer is the value of what the question requests, by its name or another ("x = 12", "BC measures 12"), or the number of
  the things that it counts ("2 are even");
- ``restated``: the words of the question are repeated with the answer in their place, and the answer is not text in the image;
- ``beyond the evidence``: the answer is stated, although neither the listed evidence nor the text in the image contains it;
- ``bare``: the cue is nothing but the answer.

A statement of evidence is "<subject> <verb> <values>" about a subject known to the dataset, with the right number of values. A misread
value that equals the answer by chance is ungrounded, not a leak. The text in the image (``metadata.image_text``, or read by OCR) is
evidence too: where it contains the answer, only a conclusion, a comparison or a calculation leaks. Without listed evidence and text, a bare
mention of the answer is not a leak, because it cannot be distinguished from evidence, unless the clause repeats half of the question's
words. The rules err towards a leak: a description that resembles a conclusion is shown on the page of samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from vicur.answers.choices import label
from vicur.answers.compare import same_value
from vicur.cues.entailment import compares_option, entails_choice, follows_answer, settles_relation, singles_out
from vicur.cues.evidence_text import is_evidence
from vicur.cues.leak_patterns import (
    AGGREGATE,
    ALTERNATIVES,
    ANNOUNCES,
    ANNOUNCES_CLEARLY,
    ASKS_FOR,
    COMPARES,
    COMPUTES,
    CONCLUDES,
    COUNTED,
    FILLER,
    IS,
    NEAR,
    NEXT,
    OF_WHAT,
    READS,
    RELATION,
    STATES_STEP,
    STEP_LEFT,
    SUPERIOR,
    SURPASSES,
    SYMBOL,
    SYNONYMS,
    TAIL,
    A,
)
from vicur.cues.marking import Marked
from vicur.cues.options import all_excluded, excluded_choices, mentioned_choices, names_right_choice
from vicur.cues.plain_text import Clause, clauses_of, sentences_of
from vicur.cues.posed import Posed, Subject, subject_of
from vicur.cues.restating import counts, repeats_question, restates, settles
from vicur.cues.wordings import content, stems, tokens

_IT_IS = re.compile(
    rf"\W*(?:it|that|this|they|these)(?:'s|\s+s|\s+(?:is|are|was|were|will\s+be|would\s+be))\s+(?:the\s+)?{A}\W*$"
)


@dataclass(frozen=True)
class Leak:
    """A cue that gives the answer away: the violated rule (listed above), the clause that violates it, and its place in the cue."""

    rule: str
    clause: str
    start: int = 0
    end: int = 0


def find_leak(cue: str, example: Posed) -> Leak | None:
    """Return the first way in which ``cue`` gives the example's answer away, or ``None``. Accepts any text."""
    return next(find_leaks(cue, example), None)


def find_leaks(cue: str, example: Posed) -> Iterator[Leak]:
    """Yield the ways in which ``cue`` gives the answer away, at most one for each clause."""
    clauses = [clause for clause in clauses_of(cue) if not is_evidence(clause, example)]
    if not clauses or not example.answer.strip():
        return
    subject = subject_of(example)
    marked = [Marked(clause, subject) for clause in clauses]
    for each in marked:
        rule = _broken_rule(each)
        if rule is not None:
            yield Leak(rule, each.clause.text.strip(), each.clause.start, each.clause.end)
    gold = subject.gold
    sentences = [Marked(sentence, subject) for sentence in sentences_of(cue)] if gold.choices else []
    for each in sentences:
        if singles_out(each):
            yield Leak("option", each.clause.text.strip(), each.clause.start, each.clause.end)
    groups = [excluded_choices(each) for each in sentences]
    if all_excluded(groups, gold.place, len(gold.choices)):
        excluding = [each.clause for each, group in zip(sentences, groups, strict=True) if group]
        yield Leak("option", excluding[-1].text.strip(), excluding[0].start, excluding[-1].end)
    if _is_bare(cue, subject):
        yield Leak("bare", cue.strip(), 0, len(cue))


def _broken_rule(marked: Marked) -> str | None:
    """Return the rule that a clause violates, if any."""
    subject, text = marked.subject, marked.text
    if _judges(marked) or follows_answer(marked) or settles_relation(marked):
        return "judged"
    if names_right_choice(marked) or compares_option(marked):
        return "option"
    if STEP_LEFT.search(text) and not subject.visible.has_formula(marked.clause.text):
        return "computed"
    shown = _is_shown(marked)
    if not marked.has_answer:
        return "restated" if settles(marked) or entails_choice(marked, shown) else None
    if "\\boxed" in marked.clause.text or (ANNOUNCES_CLEARLY if shown else ANNOUNCES).search(text):
        return "announced"
    if CONCLUDES.search(text):
        return "concluded"
    numeric = subject.gold.value is not None or subject.gold.mark is not None
    if numeric and COMPUTES.search(text) and not (shown and subject.visible.text is not None and _is_quoted(marked)):
        return "computed"
    if counts(marked) or _IT_IS.match(text):
        return "asked"
    if _answers_question(marked, shown):
        return "asked"
    if shown and _reads_off_axis(marked):
        return "asked"
    if (
        settles(marked)
        or entails_choice(marked, shown)
        or (not shown and (restates(marked) or repeats_question(marked)))
    ):
        return "restated"
    return "beyond the evidence" if _is_beyond(marked, shown) else None


def _is_shown(marked: Marked) -> bool:
    """Return whether the answer, as the clause states it, is known to be visible."""
    gold, visible = marked.subject.gold, marked.subject.visible
    if not visible.is_known:
        return False
    if marked.stated_numbers:
        return any(visible.has_number(value) for value in marked.stated_numbers)
    if gold.value is not None and visible.has_number(gold.value):
        return True
    if len(gold.text) == 1 and gold.place is not None:
        return False  # a letter is a label, which says nothing
    if visible.has_formula(gold.text):
        return bool(re.search(r"[^\W\d_]{3}|\d", gold.text)) or len(gold.text) == 1
    return visible.has_words(gold.stems)


def _is_quoted(marked: Marked) -> bool:
    """Return whether the clause is text of the image, or says that it reads it."""
    return (
        marked.subject.visible.has_formula(marked.clause.text)
        or READS.search(marked.text) is not None
        or not STATES_STEP.search(marked.text)
    )


def _judges(marked: Marked) -> bool:
    subject, text = marked.subject, marked.text
    if not subject.compares:
        return _relates(marked)
    if subject.is_truth:
        return COMPARES.search(text) is not None and marked.overlap >= 0.3
    if marked.has_answer and mentioned_choices(marked) <= 1:
        near = re.search(rf"{A}{NEXT}(?:{SUPERIOR.pattern})|(?:{SUPERIOR.pattern}){NEXT}{A}", text)
        if near and (subject.gold.value is None or not _numeric_only(near[0])):
            return True
    if subject.gold.value is None and SURPASSES.search(text):
        return True
    alternatives = ALTERNATIVES.search(subject.question)
    if alternatives and COMPARES.search(text):
        named = content(alternatives["first"]) | content(alternatives["second"])
        return bool(named & marked.content)
    return _relates(marked)


def _numeric_only(text: str) -> bool:
    # "at least 12", "more than 12"
    return re.fullmatch(rf".*\b(?:at\s+(?:least|most)|(?:more|less|fewer)\s+than)\s+{A}", text) is not None


def _relates(marked: Marked) -> bool:
    """Return whether a clause puts the alternatives of the question into the relation that it asks for: "Turin lies south of Lyon"."""
    alternatives = ALTERNATIVES.search(marked.subject.question)
    if alternatives is None:
        return False
    first, second = content(alternatives["first"]), content(alternatives["second"])
    if not (first - second) & marked.content or not (second - first) & marked.content:
        return False
    wanted = frozenset().union(*(RELATION.get(word, frozenset()) for word in tokens(marked.subject.question)))
    words = set(tokens(marked.text))
    return (
        bool(words & wanted and re.search(r"\b(?:of|than|from|to)\b|above|below|before|after|over|under", marked.text))
        and " and " not in marked.text
    )


def _reads_off_axis(marked: Marked) -> bool:
    """Return whether a clause states an answer that is visible only as a label of an axis, as what the question asks for."""
    subject, text = marked.subject, marked.text
    if (
        not marked.stated_numbers
        or subject.compares
        or not all(subject.visible.is_tick(value) for value in marked.stated_numbers)
    ):
        return False
    if any(subject.visible.evidence.values()) or READS.search(text):
        return False
    stated = re.search(rf"(?:{IS}|\bat\b)\s*{FILLER}{A}\W*$", text)
    return stated is not None and (
        marked.overlap >= 0.5 or re.search(rf"\b(?:is|are|equals?)\s+{FILLER}{A}\W*$", text) is not None
    )


def _answers_question(marked: Marked, shown: bool) -> bool:
    subject, text = marked.subject, marked.text
    asserted = re.search(rf"(?:{IS})\s*{FILLER}{A}(?!\s*(?:,|and|\|)\s*\d)", text)
    if asserted is None and not re.search(rf"{A}\s+(?:is|are|=)\s", text):
        return False
    for name in asked_names(subject.question):
        named = rf"(?<!\w){re.escape(name)}(?!\w)"
        if re.search(rf"{named}{NEAR}{IS}\s*{FILLER}{A}|{A}\s+(?:is|are|=)\s+(?:the\s+)?{named}", text):
            if not shown:
                return True
            # A symbol has the value only if the image says so. "The total is 12" is read off a receipt.
            derived = AGGREGATE.search(name) is not None and not any(
                word in subject.visible.stems for word in stems(name)
            )
            if derived and subject.visible.text is not None:
                return True
            if subject.visible.text is not None and all(
                subject.visible.is_tick(value) for value in marked.stated_numbers or (float("nan"),)
            ):
                return True
            if (
                SYMBOL.fullmatch(name)
                and not subject.visible.has_formula(f"{name}={subject.gold.text}")
                and name not in subject.visible.evidence
            ):
                return True
    if shown or subject.visible.is_known or subject.gold.value is None or asserted is None:
        return False
    # Nothing is known about the image: the value of a symbol that is stated, not read, is taken for the one that is asked for.
    assigned = re.search(rf"(?:{SYMBOL.pattern})\s*(?:{IS})\s*{FILLER}{A}\W*$", text)
    values = not subject.compares and subject.counts is None and ASKS_FOR.search(subject.question)
    return bool(assigned and values and not READS.search(text))


@lru_cache(maxsize=4096)
def asked_names(question: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for match in ASKS_FOR.finditer(question):
        thing = re.sub(r"^(?:the|an?|its|their|his|her)\s+", "", match["thing"].strip())
        bare = re.sub(r"^(?:the|an?)\s+", "", OF_WHAT.sub("", thing))
        for name in (thing, bare, TAIL.sub("", thing), TAIL.sub("", bare), *SYMBOL.findall(bare)[:2]):
            for word in name.split():
                names |= dict.fromkeys(SYNONYMS.get(word, ()))
            if name.startswith("angle "):
                names |= dict.fromkeys((f"∠{name[6:]}", f"∠ {name[6:]}"))
            if name and name not in ("a", "an", "is", "of", "in", "the", "it", "to", "on", "at", "by", "do", "does"):
                names[name] = None
    return tuple(names)


def _is_beyond(marked: Marked, shown: bool) -> bool:
    """Return whether a clause states an answer that is known not to be visible."""
    subject, gold = marked.subject, marked.subject.gold
    if shown or not subject.visible.is_known:
        return False
    if gold.value is None:
        # A name may be a description ("dog"), which only listed evidence tells from an answer.
        return len(gold.text) > 1 and (bool(subject.visible.evidence) or gold.mark is not None or not gold.is_words)
    is_small = gold.value == int(gold.value) and 0 <= gold.value <= 20
    if (
        is_small
        and subject.counts is None
        and COUNTED.search(marked.text)
        and not (gold.quantity and gold.quantity.unit.dimensions)
    ):
        return len(re.findall(A, marked.text)) > len(COUNTED.findall(marked.text))
    return True


def _is_bare(cue: str, subject: Subject) -> bool:
    gold = subject.gold
    clause = Clause(cue, 0, len(cue))
    text = clause.plain
    if not text or len(text) > 300:
        return False
    if gold.place is not None:
        found = label(text)
        if found is not None and found[0] == gold.place and (not found[1] or same_value(gold.text, found[1])):
            return True
    return same_value(gold.text, text) or stems(text) == gold.stems != ()
