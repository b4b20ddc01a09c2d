"""Patterns of the rules for leaks. They match canonical text, in lower case with numbers as digits, in which the answer is marked."""

from __future__ import annotations

import re

from vicur.cues.marking import ANSWER, STEP
from vicur.cues.posed import COMPARATIVE

A, K = ANSWER, STEP
IS = (
    r"(?:\b(?:is|are|was|were|be|equals?|gives?|makes?|becomes?|yields?|measures?|totals?|comes?\s+(?:out\s+)?(?:to"
    r"|as|at)|adds?\s+up\s+to|"
    r"amounts?\s+to|works?\s+out\s+(?:to|as|at)|turns?\s+out\s+(?:to\s+be|as)|(?:has|have|with)\s+(?:an?\s+"
    r"|the\s+)?(?:\w+\s+){0,2}?(?:of\s+)?)"
    r"(?=\W)|=|:|->|→)"
)
# Text between two related words. Bounded, so that matching takes linear time.
NEAR = r"[^;]{0,200}?"
NEXT = r"[^,;]{0,80}?"
FILLER = r"(?:(?:to|the|an?|exactly|equal|just|only|always|about|approximately|roughly|nearly|≈|~|around)\s+)*"
ANNOUNCEMENT = (
    r"(?:\b(?:answer|solution|result|conclusion|boxed|respuesta|respuestas|réponse|antwort|lösung"
    r"|risposta|resposta)\b|答案|答え|정답|ответ)"
)
ANNOUNCES = re.compile(rf"{ANNOUNCEMENT}")
# Where the answer is text in the image, "a 5 % salt solution" is evidence.
ANNOUNCES_CLEARLY = re.compile(
    rf"{ANNOUNCEMENT}\s*(?:[:=→]|-|\b(?:is|are|was|would|should|must|will|to|here|therefore)\b){NEAR}{A}"
    rf"|{A}\s*(?:\bis\b|\bas\b|=|,)\s*(?:the|my|our|your)?\s*(?:\w+\s+){{0,2}}{ANNOUNCEMENT}|(?:答案|答え|정답|ответ)"
)
CONSEQUENCE = (
    r"(?:\b(?:therefore|thus|hence|consequently|accordingly|so|implies|implying|conclude|concluding|it\s+follows"
    r"|overall|ultimately|"
    r"we\s+(?:get|have|find|obtain)|(?:which|that|this|these|they|it)\s+(?:must\s+)?(?:gives?|makes?|means?|yields?"
    r"|leaves?|leads?\s+to))\b|∴|⇒|=>|->|→)"
)
CONCLUDES = re.compile(
    rf"{CONSEQUENCE}{NEAR}{A}|\b(?:must|can\s+only|has\s+to|have\s+to|should|needs\s+to)\s+(?:then\s+)?(?:be|equal"
    rf"|have|measure)\s+{FILLER}{A}"
)
OPERATION = (
    r"(?:\b(?:sum|total|difference|product|quotient|ratio|average|mean|median|remainder|plus|minus|times|multiplied|"
    r"divided\s+by|added|adding|subtract\w*|gap|combined|together|altogether|mode|range|percentage|excess|surplus"
    r"|margin)\b|\d\s*[-+*/×÷·]\s*\d)"
)
LISTS_VALUES = rf"(?:{A}|\d[\d.,]*)"
COMPUTES = re.compile(
    rf"{OPERATION}{NEAR}{IS}\s*{FILLER}{A}"
    rf"|\b(?:sum|total|difference|product|average|mean|gap|margin)\s+of\s+{A}(?!\s*(?:,|and\b|[-+*/]))"
    rf"|\b(?:totals?|totalling|totaling|adds?\s+up\s+to|amounts?\s+to)\s+{A}"
    rf"|{A}\s*{IS}{NEAR}{OPERATION}"
    rf"|{A}\s+(?:\w+\s+){{0,3}}(?:in\s+total|altogether|in\s+all|combined|(?:more|less|fewer|greater|larger|smaller"
    rf"|higher|lower|older|younger|"
    rf"longer|shorter|taller|ahead|behind|above|below)(?:\s+(?:than|of))?\b)"
    rf"|\bby\s+{A}(?=\W*$)|\b(?:increase|decrease|rise|drop|fall|change|growth|decline|gain|loss)\s+of\s+{A}"
)
STEP_LEFT = re.compile(
    rf"{K}(?!\s+(?:grid|array|table|matrix|board|square|squares|tile|tiles|block|lattice|layout|photo|window|pixels?"
    rf"|image)\b)"
)
SUPERIOR = re.compile(
    rf"{COMPARATIVE.pattern}|\b(?:peak(?:s|ed|ing)?|top(?:s|ped|ping)|exceed\w*|surpass\w*|outrank\w*|outperform\w*"
    rf"|leads|leading|led|"
    r"dominat\w*|tower\w*|wins?|won|beats?|outweigh\w*|rank(?:s|ed)?\s+(?:first|1|last|second|2)|than|no\s+other|"
    r"(?:is|are|was|were|looks?|seems?)\s+(?:\w+ly\s+|much\s+|far\s+)?[a-z]{3,10}(?:er|est)|(?:all|every"
    r"|any)\s+(?:of\s+the\s+|the\s+)?others?|as\s+\w+\s+as|unmatched|unrivall?ed|bottom(?:s|ed)\s+out)\b"
)
COMPARES = re.compile(
    rf"\b(?:is|are|was|were|has|have|had|lies|sits|stands|rises|runs|goes|reaches|looks|appears|seems|gets|earns"
    rf"|grows|falls)\s+(?:\w+\s+){{0,2}}?"
    rf"(?:{COMPARATIVE.pattern})|(?:{COMPARATIVE.pattern})(?:\s+1|\s+of\b.{{0,100}}?)?\s*(?:\b(?:is|are)\b|[:=])"
    rf"|(?:{COMPARATIVE.pattern})\s+than\b"
    r"|\bas\s+\w+\s+as\b"
)
# "Ann outscored Bob", "the mango is the priciest".
SURPASSES = re.compile(
    rf"{A}\s+out(?!put|come|line|let|side|door)[a-z]{{3,}}(?:s|ed)\b|{A}\s+(?:is|are|was|were)\s+the\s+[a-z]{{3,}}est\b"
)
RELATION = {
    word: frozenset(group)
    for group in (
        ("north", "south", "northern", "southern"), ("east", "west", "eastern", "western"), ("left", "right"),
        ("above", "below", "over", "under", "beneath", "higher", "lower", "upper", "top", "bottom"),
        ("before", "after", "earlier", "later", "first", "last"), ("inside", "outside"), ("behind", "front"),
    )
    for word in group
}  # fmt: skip
ALTERNATIVES = re.compile(
    r"[,:?]\s*(?:the\s+)?(?P<first>[^,:?]{1,60}?)\s+or\s+(?:the\s+)?(?P<second>[^,:?]{1,60}?)\s*\??\s*$"
)
ASKS_FOR = re.compile(
    r"\b(?:(?:for\s+)?(?:which|what)\s+values?\s+of|what(?:'s|\s+is|\s+are|\s+was|\s+were)?|find|determine|calculate"
    r"|compute|evaluate|solve\s+for|give|state|estimate)\s+"
    r"(?P<thing>[^?.!;]+)"
)
OF_WHAT = re.compile(
    r"^(?:the\s+)?(?:value|length|size|measure|measurement|degree\s+measure|area|number|magnitude)\s+of\s+"
)
AGGREGATE = re.compile(
    r"\b(?:median|mean|mode|range|average|sum|total|difference|product|quotient|ratio|maximum|minimum|middle|gap|area"
    r"|perimeter|volume|probability|slope)\b"
)
SYNONYMS = {
    "median": ("middle value", "middle number", "middle one"),
    "mean": ("average",),
    "average": ("mean",),
    "total": ("sum",),
    "sum": ("total",),
    "difference": ("gap", "change"),
}
TAIL = re.compile(r"\s+(?:of|in|on|at|from|between|for|with|that|which|if|when|to)\b.*$")
SYMBOL = re.compile(r"(?<![\w'])(?:m?∠ ?[a-z\d]{1,3}|angle [a-z\d]{1,3}|[a-z]{2}(?=\b)|[a-z]|[a-z]\(\d+\))(?![\w'])")
UP_TO_VERB = re.compile(r"\b(?:is|are|was|were|do|does|did|can|have|has|in|on|at)\b")
READS = re.compile(
    r"\b(?:labell?ed|labels?|marked|marks?|reads?|reading|says?|written|writes|printed|prints|states|stating|titled"
    r"|entitled|shows?|showing|"
    r"displays?|displayed|lists?|listed|carr(?:y|ies)|bears?|annotated|inscribed(?!\s+(?:angle|circle|in\b|triangle|quadrilateral|polygon))|legend|caption|header|heading|title"
    r"|tick|gridline|axis|contains?)\b"
)
COUNTED = re.compile(
    rf"{A}\s+(?!(?:is|are|was|were|and|or|in|on|of|at|to|by|units?|percent|degrees?"
    rf"|times)\b)(?:[a-z-]+\s+){{0,2}}?[a-z-]+s\b"
)
IDENTIFIES = re.compile(
    rf"\b(?:is|are|was|were|be|being|named|called|known\s+as|represents?|depicts?|identified\s+as|indicates?|denotes?"
    rf"|stands?\s+for|points?\s+to|"
    rf"belongs?\s+to|shows?|shown\s+as|illustrates?|signifies|means|becomes?|would|will|must|should"
    rf"|equals)\s+(?:(?:the|an?|most|likely|clearly|probably|of|type)\s+)*{A}|[:=]\s*{A}\W*$"
)
LEADING_TRUTH = re.compile(r"^\W*(?P<truth>yes|no|true|false)\b")
NEGATED = re.compile(r"\b(?:not|no|never|neither|nor|without)\b|n't\b")
STATES_STEP = re.compile(
    r"\b(?:plus|minus|times|multiplied|divided|added|adding|subtract\w*|difference|gap|product|quotient|more|less"
    r"|fewer|ahead)\b|\d\s*[+*/×÷·]\s*\d"
)
