"""Detect texts that are no cues: refusals, echoes of the prompt, code, another language, truncated or endless text, and injected instructions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from vicur.answers.notation import visible
from vicur.cues.languages import differs
from vicur.cues.plain_text import revealed, sentences_of
from vicur.cues.posed import Posed
from vicur.cues.wordings import tokens

LONGEST_WORDS = 250
"""Words of the longest usable cue. The prompt requests at most a few sentences."""
_SCANNED = 8000


@dataclass(frozen=True)
class Unusable:
    """A text that cannot be used as a cue: the violated rule, the text that violates it, and its place."""

    rule: str
    clause: str
    start: int = 0
    end: int = 0


_SELF = r"(?:i(?:'m|’m|\s+am|\s+was|\s+have\s+been)?|we(?:'re|’re|\s+are)?|as\s+an?\s+(?:ai|language|text|large)\b.{0,60}?)"
_UNABLE = (
    r"(?:can\s?not|can['’]?t|could\s?n['’]?t|could\s+not|un(?:able|sure)|not\s+(?:able|allowed|permitted|sure|certain|capable|designed)|won['’]?t|will\s+not|"
    r"(?:do|did)\s?n['’]?t|do\s+not|did\s+not|must\s+decline|have\s+no|lack|need\s+(?:more|the)|apologi[sz]e|see\s+no|only\s+(?:process|read|work))"
)
_IMAGE = r"(?:images?|pictures?|photos?|figures?|diagrams?|charts?|videos?|files?|attachments?|screenshots?|documents?|frames?)"
_REFUSAL = re.compile(
    rf"\b{_SELF}\s+(?:(?:really|currently|still|simply|just|unfortunately|therefore|sorry|but|afraid|that|i|to|and)\W+){{0,5}}{_UNABLE}\b"
    r"|\b(?:i['’]?m|i\s+am|we\s+are)\s+(?:very\s+|so\s+)?(?:sorry|afraid)\b|^\W*(?:sorry|apologies|unfortunately)\b"
    r"|\bas\s+an?\s+(?:ai|artificial|large\s+language|language\s+model|text-?based)\b|\bi['’]?m\s+(?:just\s+)?an?\s+(?:ai|language|text)\b"
    rf"|\b(?:no|without\s+(?:an?|the|any))\s+(?:\w+\s+)?{_IMAGE}\s+(?:\w+\s+)?(?:provided|attached|given|included|uploaded|available|supplied|visible|found|here|shared|was|is|has|in\s+(?:your|this|the)\s+(?:message|request|prompt))\b"
    rf"|\b(?:the|your|this|an)\s+{_IMAGE}\s+(?:(?:itself|you\s+\w+|was|is|did|has|could|does|seems|appears|to|be|been|were|are)\s+)*(?:not|n['’]t|missing|unavailable|blank|empty|corrupt\w*|broken|fail\w*)\s*"
    rf"(?:(?:been|be|have|properly|correctly|actually|to)\s+)*(?:provided|attached|included|uploaded|available|load\w*|accessible|visible|come\s+through|open\w*|display\w*|$|[.,;])"
    rf"|\b(?:please|kindly|could\s+you|can\s+you|would\s+you)\s+(?:\w+\s+)?(?:upload|provide|share|attach|send|resend|re-?upload|supply|describe|paste)\b"
    rf"|\b(?:there\s+is|there['’]s|i\s+see)\s+no\s+(?:\w+\s+)?{_IMAGE}(?:\s+(?:to|for|that\s+i|here|attached|i\s+can)\b|\W*$)"
    r"|\b(?:not\s+(?:enough|sufficient)|insufficient)\s+(?:information|context|detail|data)\b|\bcannot\s+be\s+(?:determined|answered)\b|\bunable\s+to\s+(?:see|view|process|determine|assist|help|provide|identify|access|answer)\b"
    r"|\bagainst\s+(?:my|our)\s+(?:policy|policies|guidelines)\b"
)
_EMPTY = re.compile(r"\W*(?:none|n/?a|null|nan|nil|undefined|unknown|empty|no\s+cue|not\s+applicable|error|todo|tbd|no\s+(?:visual\s+)?(?:hint|evidence|description))?\W*", re.IGNORECASE)
_ECHO = re.compile(
    r"^\W*(?:question|choices|options|prompt|user|instructions?|task|input|query)\s*(?:\d+\s*)?:|\b(?:choices|options|answer\s+choices)\s*:\s*(?:\(?a\W|\S+\s*,)|"
    r"\b(?:describe|state|write|list|report|give|provide)\b.{0,40}\b(?:what\s+the\s+image\s+shows|visual\s+(?:cues?|evidence)|visible\s+evidence|the\s+(?:relevant\s+)?evidence\s+(?:in|of)\s+the\s+image)"
    r"|\b(?:do\s+not|don['’]t|never)\s+(?:give|state|reveal|infer|solve|answer|conclude|calculate|mention|include|compute)\b|\bwithout\s+(?:giving|revealing|stating|solving|answering)\b"
    r"|\b(?:your|the)\s+task\s+is\b|\byou\s+(?:are\s+given|will\s+(?:see|be\s+(?:given|shown)))\b|\b(?:in\s+(?:one|at\s+most|no\s+more\s+than)\s+(?:\w+\s+)?(?:sentences?|words))\s*[.:,]?\s*$"
    r"|^\W*(?:here\s+is|here['’]s|sure|certainly|okay|of\s+course)[^.:]{0,60}:\s*$"
)
_MARKUP = re.compile(r"<!doctype|<html|<body|</?(?:div|span|script|table|svg|p|br)\b|^\s*(?:import\s+\w+|from\s+\w+\s+import|def\s+\w+\(|function\s+\w+\(|#include|SELECT\s.+\sFROM\s|console\.log\(|print\()", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"```|~~~")
_THINKING = re.compile(r"</?\s*(?:think(?:ing)?|thought|reasoning|scratchpad|reflection)\s*>|◁/?think▷|^\W*(?:thinking|reasoning|thought)\s*:", re.IGNORECASE)
_CONTROL = re.compile(
    r"<\|[^|<>\n]{1,40}\|?>|<\s*/?\s*(?:s|eos|bos|pad|unk|image|img|video|start_of_turn|end_of_turn|vision_start|vision_end|im_start|im_end|image_pad|system|assistant|user|human|tool_call|tool_response)\s*>"
    r"|\[/?(?:INST|SYS|SYSTEM|BOS|EOS|PAD|SEP|CLS|MASK|IMG|IMAGE)\]|<</?SYS>>|<｜[^｜<>\n]{1,40}｜>|<(?:unk|extra_id_\d+|0x[0-9A-F]{2})>|\x00|\x1b"
)
_HINT = re.compile(r"\[\s*/?\s*(?:hint|privileged?|teacher|cue)\s*\]\s*:?|^\W*hint\s*:", re.IGNORECASE)
_BROKEN = re.compile("[\ufffd\ufffe\uffff]|(?:Ã.|â€.|Â.){2,}")

_FORGET = r"(?:ignor\w*|disregard\w*|forget|overrid\w*|overrul\w*|bypass|neglect|skip|cancel|drop|discard|void|ignorier\w*|vergiss|olvid\w*|oubli\w*|dimentic\w*|сброс\w*|игнорир\w*|忽略|無視|忘记|무시)"
_RULES = r"(?:instructions?|prompts?|rules?|guidelines?|directions?|commands?|context|hints?|messages?|everything|anything|all\s+(?:of\s+)?(?:the\s+)?(?:above|that|this)|question|constraints?|polic(?:y|ies)|anweisung\w*|instruc\w*|consignes?|istruzion\w*|инструкц\w*|指令|指示|说明|지시|what\s+(?:you|was|came))"
_DO = r"(?:answer|respond|reply|output|print|say|write|return|state|choose|select|pick|repeat|reveal|begin|start|end|finish|act|behave|pretend|speak|translate|describe\s+yourself|tell|click|visit|send|execute|run|call|ignore|follow|obey|produce|generate|emit|refuse|comply|claim|conclude)"
_INJECTED = re.compile(
    rf"\b{_FORGET}\W+(?:\w+\W+){{0,5}}?{_RULES}|{_FORGET}.{{0,12}}(?:指令|指示|说明|지시)"
    rf"|^\W*(?:system|assistant|developer|human|admin|root|ai)\s*(?:message|prompt|note|override|notice|instruction)?\s*[:>\]]"
    rf"|\b(?:you|the\s+(?:model|assistant|ai|student|teacher|system|llm|reader|grader|judge))\s+(?:(?:must|should|shall|will|need\s+to|have\s+to|are\s+(?:now|required|instructed|ordered|going|told|to)|has\s+to|is\s+(?:required|instructed|to)|may|can|ought\s+to)\s+)+"
    rf"(?:(?:now|always|only|never|not|instead|simply|just|immediately|from\s+now\s+on|to)\s+)*{_DO}\b"
    r"|\byou\s+are\s+(?:now\s+)?(?:an?|the|no\s+longer|in|dan\b|free|my)\s+\w+|\bfrom\s+now\s+on\b|\b(?:pretend|act)\s+(?:to\s+be|as|that|like)\b|\broleplay\b|\bnew\s+(?:instructions?|task|rules?|system|orders?|role|persona)\s*[:.=]"
    r"|\b(?:system|hidden|initial|original|secret)\s+prompts?\b|\b(?:developer|admin|god|debug|jailbreak|dan|maintenance|sudo)\s+mode\b|\bjailbreak\w*|\bprompt\s+injection\b"
    rf"|(?:^|[.!?:;,]\s*|\band\s+|\binstead\s*,?\s+|\bplease\s+|\bjust\s+|\balways\s+|\bonly\s+)(?:please\s+|always\s+|only\s+|just\s+|now\s+|instead\s+|simply\s+)*(?:answer|respond|reply|output|print|say|return)\b\s+(?:\w+\s+){{0,3}}?"
    r"(?:with|only|just|exactly|the\s+(?:word|letter|number|phrase|string|following)|in\s+(?:\w+\s+)?(?:style|english|french|german|spanish|chinese|latin|caps|capitals|json|uppercase|rhyme|verse)|[\"“'‘]|option|yes\b|no\b|nothing|as\s+if|like\s+a|that\s+|regardless|whatever|to\s+(?:every|all|any))"
    r"|\b(?:reveal|print|repeat|show|output|leak|expose|tell\s+me|give\s+me|display)\s+(?:me\s+)?(?:your|the\s+(?:system|full|hidden|above|entire|complete))\s+(?:\w+\s+){0,2}(?:prompt|instructions?|rules|message|config\w*|key|weights|password)"
    r"|\b(?:give|award|assign|grant|mark|rate|score|grade)\b.{0,30}\b(?:full|maximum|highest|perfect|top|10/10|100\s?%|correct)\s*(?:marks?|score|points|reward|grade|credit|as\s+correct)?\b.{0,30}\b(?:response|answer|student|reward|submission|me|this)\b"
    r"|\b(?:do\s+not|don['’]t|never)\s+(?:\w+\s+)?(?:look\s+at|use|describe|trust|read|consult|believe|follow|obey|answer|analy[sz]e)\b"
    r"|\b(?:the\s+following|this)\s+(?:overrides?|supersedes?|replaces?)\b|\b(?:end|begin|start)\s+of\s+(?:the\s+)?(?:prompt|hint|context|instructions?|system)\b|(?:^|\s)#{2,}\s*(?:instruction|system|response|human|assistant|user|new)\b"
    r"|\b(?:important|attention|note)\s*[:!]\s*(?:the\s+(?:model|ai|assistant|student)|you\s+(?:must|should|are)|ignore|always|disregard)\b"
    r"|\b(?:curl|wget|rm\s+-rf|sudo|eval\(|os\.system|javascript:|<script|https?://\S+\?\S*=)",
    re.MULTILINE,
)  # fmt: skip

_TRUNCATED_WORD = frozenset(
    "a an the this that these those its their his her of in on at to from by for with as and or but nor so than which who whose is are was were be has have had "
    "can could will would may might shall should must into onto between about not no very each every both either labeled labelled marked called named i if when "
    "while because since there where over under above below left-hand right-hand".split()
)
_ENDS = re.compile(r"[.!?。！？)\]}\"”'’»$%°|`…*_:]\W*$")


def find_unusable(cue: str, example: Posed) -> Iterator[Unusable]:
    """Yield the reasons why ``cue`` is no cue. Injected instructions are found separately. Accepts any text."""
    text = _on_lines(visible(cue[:_SCANNED]))
    lower = text.casefold().replace("’", "'")
    if _EMPTY.fullmatch(text[:200]):
        yield Unusable("empty", cue.strip()[:200], 0, len(cue))
        return
    for rule, pattern, scanned in (
        ("refusal", _REFUSAL, lower),
        ("prompt", _ECHO, lower),
        ("code", _FENCE, text),
        ("code", _MARKUP, text),
        ("thinking", _THINKING, text),
        ("control token", _CONTROL, cue[:_SCANNED]),
        ("hint marker", _HINT, text),
        ("damaged text", _BROKEN, text),
    ):
        match = pattern.search(scanned)
        if match is not None:
            yield _located(rule, match[0].strip(), cue)
    if _is_json(text):
        yield Unusable("code", text.strip()[:200], 0, len(cue))
    words = tokens(text)
    asked = tokens(example.question)
    if _echoes(words, asked):
        yield Unusable("prompt", text.strip()[:200], 0, len(cue))
    if len(words) > LONGEST_WORDS or len(text) > 12 * LONGEST_WORDS:
        yield Unusable("too long", text[:200], 0, len(cue))
    if _repeats(words) or _repeats_sentences(text):
        yield Unusable("repetition", text.strip()[:200], 0, len(cue))
    if _is_cut_off(text):
        yield Unusable("truncated", text.strip()[-100:], max(0, len(cue) - 100), len(cue))
    if differs(text, example.question):
        yield Unusable("other language", text.strip()[:200], 0, len(cue))


def find_injections(cue: str) -> Iterator[Unusable]:
    """Yield instructions to a model, and marks that would forge a part of its prompt. Accepts any text."""
    text = _on_lines(revealed(cue[:_SCANNED]))
    lower = text.casefold().replace("’", "'")
    for rule, pattern, scanned in (
        ("instruction", _INJECTED, lower),
        ("control token", _CONTROL, cue[:_SCANNED]),
        ("hint marker", _HINT, text),
    ):
        match = pattern.search(scanned)
        if match is not None:
            yield _located(rule, match[0].strip(), cue)


def _on_lines(text: str) -> str:
    # Runs of blanks would make matching take quadratic time.
    return re.sub(r"\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text))


def _located(rule: str, clause: str, cue: str) -> Unusable:
    """Return a finding with its place in the cue, which is all of it if its notation differs."""
    start = cue.casefold().find(clause) if clause.islower() else cue.find(clause)
    return Unusable(rule, clause, max(start, 0), start + len(clause) if start >= 0 else len(cue))


def _is_json(text: str) -> bool:
    bare = text.strip()
    if not bare.startswith(("{", "[")) or not bare.endswith(("}", "]")):
        return False
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        return re.match(r"[{\[]\s*[\"']\w+[\"']\s*:", bare) is not None
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, str | dict) for each in value))


def _echoes(words: list[str], asked: list[str]) -> bool:
    """Return whether a cue repeats the question."""
    if len(asked) < 2 or len(words) < 2:
        return False
    if words == asked:
        return True
    if len(asked) >= 5:
        joined = f" {' '.join(words)} "
        return f" {' '.join(asked)} " in joined or (len(words) <= len(asked) and len(set(words) & set(asked)) >= 0.9 * len(set(words)) and len(words) >= 5 and words[0] == asked[0])
    return False


def _repeats(words: list[str]) -> bool:
    """Return whether the same four words return again and again."""
    if len(words) < 12:
        return False
    runs = Counter(tuple(words[n : n + 4]) for n in range(len(words) - 3))
    (run, most), *_ = runs.most_common(1)
    letters = any(word.isalpha() and len(word) > 2 for word in run)
    return most >= 3 and (most * 4 >= 0.5 * len(words) if letters else most * 4 >= 0.9 * len(words) and most > 8)


def _repeats_sentences(text: str) -> bool:
    counts = Counter(" ".join(tokens(each.text)) for each in sentences_of(text))
    return any(count >= 3 and len(sentence.split()) >= 4 for sentence, count in counts.items())


def _is_cut_off(text: str) -> bool:
    bare = text.rstrip()
    if bare.endswith(("...", "…")) and len(bare) > 3:
        return True
    last = re.split(r"\s+", bare)[-1].casefold() if bare else ""
    if bare.endswith((",", "-", "–", "(", "[", "{", "\\", "=", "+", "/", "&")) or last in _TRUNCATED_WORD and (last.islower() and bare.split()[-1] == last):
        return True
    if bare.count("(") > bare.count(")") or bare.count("$") % 2 and "\\" in bare or bare.count("“") > bare.count("”") or bare.count("{") > bare.count("}"):
        return not _ENDS.search(bare) or bare.count("(") > bare.count(")")
    # A text in sentences whose last one does not end.
    body = bare.split("\n")[-1]
    ended = re.findall(r"[a-z]{2,}[.!?]\s+(?=[A-Z])", body)
    rest = re.split(r"[.!?]\s+", body)[-1]
    return bool(ended) and not _ENDS.search(body) and len(rest.split()) >= 2 and ":" not in rest and "=" not in rest
