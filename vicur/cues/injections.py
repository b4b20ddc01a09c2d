"""Detect instructions to a model in a cue, and marks that would forge a part of its prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vicur.cues.plain_text import revealed
from vicur.cues.unusable import CONTROL, HINT, SCANNED, Unusable, located, on_lines

_FORGET = (
    r"(?:ignor\w*|disregard\w*|forget|overrid\w*|overrul\w*|bypass|neglect|skip|cancel|drop|discard|void"
    r"|ignorier\w*|vergiss|olvid\w*|oubli\w*|dimentic\w*|сброс\w*|игнорир\w*|忽略|無視|忘记|무시)"
)
_RULES = (
    r"(?:instructions?|prompts?|rules?|guidelines?|guidance|orders?|requests?|directions?|commands?|context|hints?|messages?|everything"
    r"|anything|all\s+(?:of\s+)?(?:the\s+)?(?:above|that|this)|question|constraints?|polic(?:y|ies)|anweisung\w*"
    r"|instruc\w*|consignes?|istruzion\w*|инструкц\w*|指令|指示|说明|지시|what\s+(?:you|was|came))"
)
_DO = (
    r"(?:answer|respond|reply|output|print|say|write|return|state|choose|select|pick|repeat|reveal|begin|start|end"
    r"|finish|act|behave|pretend|speak|translate|describe\s+yourself|tell|click|visit|send|execute|run|call|ignore"
    r"|follow|obey|produce|generate|emit|mark|rate|grade|score|accept|refuse|comply|claim|conclude)"
)
_INJECTED = re.compile(
    rf"\b{_FORGET}\W+(?:\w+\W+){{0,5}}?{_RULES}|{_FORGET}.{{0,12}}(?:指令|指示|说明|지시)"
    rf"|^\W*(?:system|assistant|developer|human|admin|root|ai)\s*(?:message|prompt|note|override|notice"
    rf"|instruction)?\s*[:>\]]"
    rf"|\b(?:you|the\s+(?:model|assistant|ai|student|teacher|system|llm|reader|grader|judge))\s+(?:(?:must|should"
    rf"|shall|will|need\s+to|have\s+to|are\s+(?:now|required|instructed|ordered|going|told|to)|has\s+to"
    rf"|is\s+(?:required|instructed|to)|may|can|ought\s+to)\s+)+"
    rf"(?:(?:now|always|only|never|not|instead|simply|just|immediately|from\s+now\s+on|to)\s+)*{_DO}\b"
    r"|\byou\s+are\s+(?:now\s+\w+|(?:an?|the|no\s+longer|in|free|my)\s+\w+)|\bfrom\s+now\s+on\b|\b(?:pretend"
    r"|act)\s+(?:to\s+be|as|that|like)\b|\broleplay\b|\bnew\s+(?:instructions?|task|rules?|system|orders?|role"
    r"|persona)\s*[:.=]"
    r"|\b(?:system|hidden|initial|original|secret)\s+prompts?\b|\b(?:developer|admin|god|debug|jailbreak|dan"
    r"|maintenance|sudo)\s+mode\b|\bjailbreak\w*|\bprompt\s+injection\b"
    rf"|(?:^|[.!?:;,]\s*|\band\s+|\binstead\s*,?\s+|\bplease\s+|\bjust\s+|\balways\s+|\bonly\s+)(?:please\s+"
    rf"|always\s+|only\s+|just\s+|now\s+|instead\s+|simply\s+)*(?:answer|respond|reply|output|print|say"
    rf"|return)\b\s+(?:\w+\s+){{0,3}}?"
    r"(?:with|only|just|exactly|the\s+(?:word|letter|number|phrase|string|following)|in\s+(?:\w+\s+)?(?:style|english"
    r"|french|german|spanish|chinese|latin|caps|capitals|json|uppercase|rhyme|verse)|[\"“'‘]|option|yes\b|no\b"
    r"|nothing|as\s+if|like\s+a|that\s+|regardless|whatever|to\s+(?:every|all|any))"
    r"|\b(?:reveal|print|repeat|show|output|leak|expose|tell\s+me|give\s+me|display)\s+(?:me\s+)?(?:your"
    r"|the\s+(?:system|full|hidden|above|entire|complete))\s+(?:\w+\s+){0,2}(?:prompt|instructions?|rules|message"
    r"|config\w*|key|weights|password)"
    r"|\b(?:give|award|assign|grant|mark|rate|score|grade)\b.{0,30}\b(?:full|maximum|highest|perfect|top|10/10"
    r"|100\s?%|correct)\s*(?:marks?|score|points|reward|grade|credit|as\s+correct)?\b.{0,30}\b(?:response|answer"
    r"|student|reward|submission|me|this)\b"
    r"|\b(?:do\s+not|don['’]t|never)\s+(?:\w+\s+)?(?:look\s+at|use|describe|trust|read|consult|believe|follow|obey"
    r"|answer|analy[sz]e)\b"
    r"|\b(?:the\s+following|this)\s+(?:overrides?|supersedes?|replaces?)\b|\b(?:end|begin"
    r"|start)\s+of\s+(?:the\s+)?(?:prompt|hint|context|instructions?|system)\b|(?:^|\s)#{2,}\s*(?:instruction|system"
    r"|response|human|assistant|user|new)\b"
    r"|\b(?:important|attention|note)\s*[:!]\s*(?:the\s+(?:model|ai|assistant|student)|you\s+(?:must|should|are)"
    r"|ignore|always|disregard)\b"
    rf"|\bas\s+(?:the|an?|your)\s+(?:grader|judge|model|ai|assistant|evaluator|reviewer|teacher|student)\s*,\s*(?:\w+\s+)?{_DO}\b"
    rf"|(?:^|[.!?]\s+)(?:grader|judge|model|ai|llm)\s*[:,]\s*(?:please\s+)?(?:{_DO}|give|award)\b"
    r"|\b(?:send|forward|e?mail|upload|post)\s+(?:\w+\s+){0,2}(?:conversation|chat|prompt|history|passwords?|keys?)\b"
    r"|\b(?:visit|open|click|go\s+to|browse)\s+(?:\w+\s+)?https?://|\b(?:curl|wget|rm\s+-rf|sudo|eval\(|os\.system|javascript:|<script|https?://\S+\?\S*=)",
    re.MULTILINE,
)  # fmt: skip


def find_injections(cue: str) -> Iterator[Unusable]:
    """Yield instructions to a model, and marks that would forge a part of its prompt. Accepts any text."""
    text = on_lines(revealed(cue[:SCANNED]))
    lower = text.casefold().replace("’", "'")
    for rule, pattern, scanned in (
        ("instruction", _INJECTED, lower),
        ("control token", CONTROL, cue[:SCANNED]),
        ("hint marker", HINT, text),
    ):
        match = pattern.search(scanned)
        if match is not None:
            yield located(rule, match[0].strip(), cue)
