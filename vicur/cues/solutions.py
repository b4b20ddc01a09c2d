"""Detect cues that solve: theorems and laws by name, steps to take, relations between quantities, equations, reasons.

The paper's reasoning hints ("The problem is solved by applying the Intersecting Chords Theorem, which equates ...") state a solution,
its cues only what is visible (arXiv 2606.05718, figure 1). A formula that is text in the image, or that the cue reads off it, is evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from vicur.answers.compare import same_value
from vicur.answers.units import measure
from vicur.cues.arithmetic import calculations
from vicur.cues.evidence_text import is_evidence
from vicur.cues.leak_patterns import CONCLUDES, READS, A, K
from vicur.cues.leaks import asked_names
from vicur.cues.marking import Marked
from vicur.cues.methods import METHODS
from vicur.cues.plain_text import clauses_of
from vicur.cues.posed import Posed, Subject, subject_of


@dataclass(frozen=True)
class SolutionLeak:
    """A step of a solution: the violated rule, the clause, and its place in the cue."""

    rule: str
    clause: str
    start: int = 0
    end: int = 0


_BY_NAME = re.compile(r"\b(?:" + "|".join(name for names in METHODS.values() for name in names) + r")")
_LAW = re.compile(
    r"\b(?:circumference|area|volume|perimeter|slope|sum|measure|angles?|surface|diagonals?)\s+(?:\w+\s+){0,3}?of\s+(?:an?|any|every|each)"
    r"\s+(?:\w+\s+){1,2}?(?:is|are|equals?|adds?|sums?|totals?|bisect\w*|has|have)\b|"
    r"\b(?:theorems?|lemmas?|corollar(?:y|ies)|postulates?|axioms?)\b|\b(?:law|rule|principle|property|definition"
    r"|formula|formulae|criterion|"
    r"identity|equation|relation|relationship|test|inequality)s?\s+(?:of|for|that|relating|says|states|gives|relates"
    r"|between)\b"
    r"|\b(?:the|by|using|use|apply|from|with|via)\s+(?:\w+[ -]){0,3}(?:law|rule|principle|formula|identity|criterion"
    r"|equation|inequality)s?\b"
    r"|\b\w+(?:'s|s')\s+(?:\w+\s+)?(?:law|rule|formula|principle|equation|identity|inequality|criterion)s?\b"
    r"|\b(?:sine|cosine|chain|product|quotient|power|lens|distance|midpoint|area|volume|perimeter|slope|ratio"
    r"|triangle|kinematic\w*|gas)\s+"
    r"(?:law|rule|formula|equation)s?\b"
)
_VERBS = (
    r"add(?:\s+up)?|subtract|deduct|divide|multiply|compute|calculate|solve|substitute|convert|equate|rearrange|isolate"
    r"|simplify|cross-?multiply|"
    r"apply|plug|recall|remember|notice|differentiate|integrate|factor|evaluate|deduce|derive|determine|compare|use"
    r"|utili[sz]e|employ"
)
# Verbs that are nouns or describe images too ("Square ABCD", "Count: 4") need an object.
_LOOSE_VERBS = (
    r"square|count|average|sum|measure|check|total|round|estimate|note|order|rank|sort|take|find|set|look|work|read"
    r"|draw|extend|split|"
    r"double|halve|combine|express|let|write|begin|start|consider|identify|get|see\s+(?:how|which)|figure\s+out|tally|"
    r"invert|scale|reduce|expand|eliminate|assume|suppose|ignore|think|group|match|trace|follow|imagine|locate"
    r"|examine|scan|search|spot|inspect|review|list|keep|put|move|make|form|construct|pair|balance|decide|infer"
    r"|reason|predict|relate|link|connect|treat|view|test|try|"
    r"verify|confirm|rewrite|reverse|swap|flip|rotate|reflect|fold|go|walk|scan|observe\s+that|look\s+(?:for|at|up)"
)
_OBJECT = (
    r"(?:the|an?|both|all|each|every|these|those|this|that|how|them|it|its|up|out|off|away|for|from|by|with|two"
    r"|twice|half|which|whether|any|every\w*|who|\d+)"
)
_LEAD = (
    r"^\W*(?:\d+[.)]\s*)?(?:(?:step\s*\d*|hint|idea|method|approach|strategy|solution|first|second|1|2|third|then"
    r"|next|now|finally|just|simply|so|and|and\s+then|"
    r"but|instead|here|therefore|thus|please|you|we|to\s+(?:\w+\s+){1,6}?|in\s+order\s+to\s+(?:\w+\s+){1,6}?)\W+){0,3}"
)
_IMPERATIVE = re.compile(
    rf"{_LEAD}(?:{_VERBS})\b(?!\W*(?::|$|=|\)))(?:\s+\S)|{_LEAD}(?:{_LOOSE_VERBS})\s+{_OBJECT}\b"
    rf"|[,;:]\s*(?:and\s+)?(?:then|now|just|simply)?\s*(?:{_VERBS})\s+"
    rf"(?:{_OBJECT}|[a-z]+\b)(?!\s*[:=])|\b(?:and|then|to|or|you|we|must|should|can|could|may|need\s+to|have\s+to"
    rf"|let'?s|now)\s+(?:then\s+|just\s+|simply\s+|only\s+)?"
    rf"(?:add|subtract|divide|multiply|compute|calculate|solve|substitute|equate|simplify|cross-?multiply|plug|deduce"
    rf"|derive|apply|square|factor)\b"
)
_GERUND = re.compile(
    r"\b(?:by|after|before|when|through|via|requires?|involves?|means|needs?)\s+(?:then\s+|first\s+|simply\s+)?(?:add"
    r"|subtract|divid|multiply|comput|calculat|solv|substitut|"
    r"convert|equat|rearrang|isolat|simplify|apply|plugg|compar|us|squar|tak|count|find|factor|sett|averag|summ"
    r"|measur|halv|doubl|not|look|work|eliminat|combin)ing\b"
    r"|^\W*(?:then\s+|first\s+|by\s+)?(?:add|subtract|divid|multiply|comput|calculat|solv|substitut|convert|equat"
    r"|apply|compar|us|squar|count|averag|summ|doubl|halv)ing\s+"
    r"|\b(?:can|could|may|must|should|will|to|needs\s+to|has\s+to)\s+be\s+(?:\w+ly\s+)?(?:found|comput|calculat|solv"
    r"|obtain|determin|deriv|us|add|subtract|divid|multipli|"
    r"appli|comp|substitut|inferr|deduc|convert|express|squar)(?:ed)?\b"
    r"|\b(?:is|are)\s+(?:then\s+)?(?:solved|found|obtained|computed|calculated|determined|derived|deduced"
    r"|inferred)\s+(?:by|as|from|using|with|through)\b"
    r"|\b(?:added|subtracted|multiplied)\s+(?:to|from|by|together)\b|\bsolv(?:e|ed|es|ing)\s+for\b|\bequates\b"
)
_NAME = r"(?:[a-z]+|[a-z]\b)"
_QUANTITY = r"(?:the\s+|an?\s+|its\s+|their\s+)?[a-z][a-z-]*(?:\s+of\s+(?:the\s+)?[a-z]+)?"
_RELATION = re.compile(
    rf"(?:\b(?:is|are|equals?|be|as|means|gives|makes)\b|=|:)\s*(?:{_QUANTITY}\s+){{0,3}}?(?:times|plus|minus|over"
    rf"|divided\s+by|multiplied\s+by)\s+(?!(?:with|in|on|at|by|from|to|his|her)\b)(?:{_QUANTITY})"
    rf"|\b[a-z]{{3,}}\s+(?:times|multiplied\s+by|divided\s+by)\s+(?:the\s+|its\s+|their\s+)?[a-z]{{3,}}"
    r"|\b(?:equals?|is|are|be|=|takes?|requires?|needs?)\s+(?:exactly\s+|just\s+|then\s+|always\s+|1\s*)?(?:half"
    r"|twice|double|triple|2\s+times|a\s+(?:third|quarter|fourth)\s+of|the\s+(?:sum|product|difference|"
    r"quotient|ratio|average|mean|square|square\s+root)\s+(?:of|between|divided)\b|1\s*/\s*[2-9]\s+(?:of|times"
    r"|the))(?!\s+(?:as|past)\b)|\b\d+\s+times\s+(?:the|its|their|this|that)\s+[a-z]{3,}"
    r"|\b(?:sum|product|difference|quotient)\s+(?:of|between)\s+(?:the|all|both|these|those|its|their|2|a\b"
    r"|any)\b(?!.*\b(?:labell?ed|printed|reads|row|column|button|key)\b)"
    r"|\b(?:twice|half|double)\s+(?:the\s+|of\s+the\s+)?(?:measure|value|area|length|sum|angle|base|product|radius"
    r"|diameter|height|arc|number|difference|perimeter|central|inscribed)\b"
    r"|\b(?:is|are|occurs?|lies?)\s+(?:the\s+(?:point|value|place|time)s?\s+)?(?:where|when|at\s+which)\b.*(?:="
    r"|\bequals?\b|\b0\b|\bmeet|\bcross)"
    r"|\b(?:add|sum)s?\s+(?:up\s+)?to\b|\b(?!(?:is|are|at|of|to|by|equals|reads|be|with|and|or)\b)[a-z\d.]+\s+(?:plus"
    r"|minus)\s+(?!signs?\b|symbols?\b|buttons?\b|keys?\b|poles?\b|terminals?\b|\d+\s*(?:°|degrees))"
    r"|\b[a-z]{3,}\s*=\s*(?:[a-z]+\s+){0,3}[a-z]{3,}\s*[-+*/]\s*(?:[a-z]+\s+){0,2}[a-z]{3,}"
    r"|\b[a-z]{3,}\s+over\s+[a-z]{3,}\s+(?:is|=|equals)\s"
    r"|\b(?:rise|distance|mass|force|voltage|work|energy|opposite|adjacent)\s+(?:over|per\s+unit)\s+(?:the\s+)?[a-z]+"
    r"|\bsquares?\s+of\s+(?:the|its|both)\b"
    r"|\b(?:is|are)\s+(?:directly\s+|inversely\s+)?proportional\b|\bdepends?\s+on\b.*\b(?:so|therefore|because|at)\b"
)
# "The row adds up to 24" states the answer and no way to it.
_OUTCOME = re.compile(rf"^[^=]*\b(?:adds?|sums?)\s+(?:up\s+)?to\s+{A}\W*$")
_REASON = re.compile(
    r"\b(?:therefore|thus|hence|consequently|accordingly|because|implies|implying|it\s+follows|we\s+(?:get|have"
    r"|obtain|find|know|see\s+that|conclude)|"
    r"(?:which|this|that)\s+(?:means|implies|identifies|tells|shows\s+that|gives|makes|proves|leads)|so\s+that"
    r"|as\s+a\s+result|in\s+turn|given\s+that|due\s+to\s+the\s+fact)\b"
    r"|^\W*(?:so|since|as)\s+(?!\d|the\s+(?:19|20)\d\d|of\b|shown\b|seen\b|far\b|in\b|it\s+reads|labell?ed"
    r"|an?\s+(?:label|title)|many|the\s+title)|,\s+so\s+(?:the|it|its|we|you|they|each|both|all|this|that|there"
    r"|\w+\s*=)\b"
    r"|,\s+since\s+(?!\d)|∴|∵|⇒"
)
_MATHS_PIECE = (
    r"(?:[-+*/^(){}\[\]√π°|'.]|\\[a-z]+|\d++(?:\.\d++)?+|(?<![A-Za-z])(?!(?:is|in|on|at|to|of|by|or|an|as|it"
    r"|so|up|no|be|we|and|the|for|are|has|its|with|a(?=\s+[a-z]{3}))(?![A-Za-z]))[^\W\d_]{1,2}(?![A-Za-z])|sin|cos"
    r"|tan|log|area|sqrt)"
)
_EQUATION = re.compile(
    rf"(?>(?:{_MATHS_PIECE}\s*+){{1,40}}+)[=≤≥<>≈](?>(?:\s*+{_MATHS_PIECE}){{1,40}}+)", re.IGNORECASE
)
_PART = re.compile(r"[=≤≥<>≈]")
_OPERATED = re.compile(
    r"π\s?[a-z](?![A-Za-z])|[\w)}°]\s*[+*/×÷]\s*[\w({√\\]|[\w)}°]\s+-\s+[\w({√\\]|[\w)}]-(?=[\w({])|\^|√|\\(?:sqrt|frac)"
    r"|(?<![A-Za-z])[a-zA-Z]\s+[a-zA-Z](?![A-Za-z])"
    r"|\d\s?\((?=[^()]*[-+*/])|\d+[a-z](?![A-Za-z])|\b(?:sin|cos|tan|log|ln)\b|(?<![A-Za-z])(?:[a-z]{2})(?![A-Za-z])"
)
_APPLIED = re.compile(r"(?<![A-Za-z])[a-zA-Z]\s?\(-?\d+(?:\.\d+)?\)")
_NUMBER_OVER_NUMBER = re.compile(r"\s*-?(?:\d+(?:\.\d+)?\s*/\s*\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\})\s*\S{0,4}\s*")
_UNIT_RUN = re.compile(r"(?<=\d)\s?((?:[A-Za-zμΩ°%]+)(?:[/*^ ]?(?:\{?-?\d\}?|[A-Za-zμΩ]+\b)){0,3})")


_OBTAINS = re.compile(
    r"^\W*(?:(?:so|thus|hence|therefore|then|and)\W+)?(?:we|you|one)\s+(?:get|gets|have|find|obtain)\b"
)
_POINTS = re.compile(
    r"^\W*(?:note|notice|observe|see|look\s+at|look\s+closely\s+at)\s+(?:the|that|how|two|three|both)?\s*(?:\w+\s+){0,4}?(?:triangle|figure|diagram"
    r"|chart|table|picture|image|graph|labels?|numbers?|values?|legend|axis|marks?|row|column|bars?|title|printed|labell?ed)\b"
)
_OPERATES = re.compile(
    r"\b(?:and\s+(?:then\s+)?(?:add|subtract|divide|multiply|compare|compute|find|take|read|use|count)|to\s+(?:find|get|compute|determine)|similar"
    r"|proportion\w*|theorem|equals?|sum|difference|ratio|twice|half|then|because|since|must)\b"
)


def find_solutions(cue: str, example: Posed) -> Iterator[SolutionLeak]:
    """Yield the clauses of ``cue`` that belong to a solution, at most one finding for each. Accepts any text."""
    clauses = clauses_of(cue)
    if not any(_MAY_SOLVE.search(clause.text) for clause in clauses):
        return
    clauses = [clause for clause in clauses if not is_evidence(clause, example)]
    if not clauses:
        return
    subject = subject_of(example)
    for clause in clauses:
        rule = _rule(Marked(clause, subject), subject)
        if rule is not None:
            yield SolutionLeak(rule, clause.text.strip(), clause.start, clause.end)


# A sign of mathematics, or a word that is neither a name nor a number. Most cues of digit scenes have neither.
_MAY_SOLVE = re.compile(r"[=+*/^√<>×÷·−≈≤≥⇒∴∵\\]|\d\s-\s|[^\W\d_]{2}", re.IGNORECASE)


def _rule(marked: Marked, subject: Subject) -> str | None:
    lower, plain = marked.clause.lower, marked.clause.plain
    # What the image says is evidence, and so is what a cue quotes from it.
    if subject.visible.has_formula(marked.clause.text) or _quotes(marked, subject):
        return None
    if _BY_NAME.search(lower) or _LAW.search(lower):
        return None if _is_read(marked, subject) else "named"
    if not _points(marked) and (_IMPERATIVE.search(lower) or _GERUND.search(lower)):
        return "step"
    if _solves_by_equation(marked, subject):
        return "equation"
    if K in marked.text or any(each.operations and not _is_layout(plain, each.end) for each, _, _ in marked.numbers):
        shown = any(
            each.operations and subject.visible.has_formula(plain[each.start : each.end])
            for each, _, _ in marked.numbers
        )
        is_answer = K not in marked.text and all(
            subject.gold.is_value(each.value) for each, _, _ in marked.numbers if each.operations
        )
        return None if shown or is_answer or READS.search(lower) else "calculation"
    if _defines(lower, subject) and not _is_read(marked, subject):
        return "relation"
    if _RELATION.search(lower) and not _OUTCOME.search(marked.text) and not _is_read(marked, subject):
        return "relation"
    if _REASON.search(lower) and not CONCLUDES.search(marked.text) and A not in marked.text:
        return "reason"
    return None


def _points(marked: Marked) -> bool:
    """Return whether a clause points at a part of the image, or only concludes: "Note the value printed above", "so we get 6"."""
    lower = marked.clause.lower
    if _OBTAINS.match(lower) and A in marked.text:
        return True
    return _POINTS.match(lower) is not None and not _OPERATES.search(lower)


def _defines(lower: str, subject: Subject) -> bool:
    """Return whether a clause says what the requested quantity is in general: "The median is the middle value of the list"."""
    if re.search(r"\d", lower):
        return False
    return any(
        re.search(
            rf"^\W*(?:the\s+|an?\s+|its\s+)?{re.escape(name)}\s+(?:is|are|means|equals)\s+(?:the|an?"
            rf"|how)\s+(?:[a-z-]+\s+){{1,4}}(?:of|by|per|over)\b",
            lower,
        )
        for name in asked_names(subject.question)
        if len(name) > 2
    )


def _is_layout(plain: str, end: int) -> bool:
    return (
        re.match(
            r"\s*-?\s*(?:grid|array|table|matrix|board|square|tile|block|lattice|layout|photo|window|pixel|image"
            r"|arrangement|chess)",
            plain[end : end + 20],
        )
        is not None
    )


def _is_read(marked: Marked, subject: Subject) -> bool:
    """Return whether a clause reads a text that the image has, if that is known."""
    if not READS.search(marked.clause.lower):
        return False
    return subject.visible.text is None or (
        bool(re.search(r"[\"“'].{3,}[\"”']", marked.clause.text)) and _quotes(marked, subject)
    )


def _quotes(marked: Marked, subject: Subject) -> bool:
    """Return whether the solution in a clause is quoted from the image."""
    quoted = re.findall(r"[\"“]([^\"”]{3,200})[\"”]", marked.clause.text)
    return bool(quoted) and (subject.visible.text is None or all(subject.visible.has_formula(text) for text in quoted))


def _solves_by_equation(marked: Marked, subject: Subject) -> bool:
    plain, gold = marked.clause.plain, subject.gold
    if not _PART.search(plain):
        return False
    for match in islice(_EQUATION.finditer(plain), 20):
        text = match[0].strip(" .")
        if subject.visible.has_formula(text) or (subject.visible.text is None and READS.search(marked.clause.lower)):
            continue
        if gold.value is None and (same_value(gold.text, text) or (A in marked.text and not gold.is_words)):
            continue
        sides = [_APPLIED.sub(" ", side) for side in _PART.split(text)]
        bare = [_without_units(side) for side in sides if not _is_answer(side, subject)]
        if any(_OPERATED.search(side) and not _NUMBER_OVER_NUMBER.fullmatch(side) for side in bare):
            return True
    return False


def _is_answer(side: str, subject: Subject) -> bool:
    found = list(calculations(side))
    return len(found) == 1 and found[0].operations <= subject.gold.operations and subject.gold.is_value(found[0].value)


def _without_units(side: str) -> str:
    def dropped(match: re.Match[str]) -> str:
        text = match[1]
        while text:
            if measure(text.strip()) is not None and (len(text.strip()) > 1 or text.strip() in "mgsLlNJWVAKΩ°%"):
                return match[0][len(match[0].rstrip()) :] + match[1][len(text) :]
            text = text[:-1]
        return match[0]

    return _UNIT_RUN.sub(dropped, side)
