"""Detect texts that cannot be cues: refusals, echoes of the prompt, code, thoughts, another language, truncated or endless text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from vicur.answers.notation import visible
from vicur.cues.languages import differs
from vicur.cues.plain_text import sentences_of
from vicur.cues.posed import Posed
from vicur.cues.wordings import stems, tokens

LONGEST_WORDS = 250
"""Words of the longest usable cue. The prompt requests at most a few sentences."""
SCANNED = 8000


@dataclass(frozen=True)
class Unusable:
    """A text that cannot be used as a cue: the violated rule, the text that violates it, and its place."""

    rule: str
    clause: str
    start: int = 0
    end: int = 0


_SELF = (
    r"(?:i(?:'m|’m|\s+am|\s+was|\s+have\s+been)?|we(?:'re|’re|\s+are)?|as\s+an?\s+(?:ai|language|text|large)\b.{0,60}?)"
)
_UNABLE = (
    r"(?:can\s?not|can['’]?t|could\s?n['’]?t|could\s+not|un(?:able|sure)|not\s+(?:able|allowed|permitted|sure|certain"
    r"|capable|designed)|won['’]?t|will\s+not|"
    r"(?:do|did)\s?n['’]?t|do\s+not|did\s+not|must\s+decline|have\s+no|lack|need\s+(?:more|the)|apologi[sz]e|see\s+no"
    r"|only\s+(?:process|read|work))"
)
_IMAGE = (
    r"(?:images?|pictures?|photos?|figures?|diagrams?|charts?|videos?|files?|attachments?|screenshots?"
    r"|documents?|frames?)"
)
_REFUSAL = re.compile(
    rf"\b{_SELF}\s+(?:(?:really|currently|still|simply|just|unfortunately|therefore|sorry|but|afraid|that|i|to"
    rf"|and)\W+){{0,5}}{_UNABLE}\b"
    r"|\b(?:i['’]?m|i\s+am|we\s+are)\s+(?:very\s+|so\s+)?(?:sorry|afraid)\b|^\W*(?:sorry|apologies|unfortunately)\b"
    r"|\bas\s+an?\s+(?:ai|artificial|large\s+language|language\s+model|text-?based)\b"
    r"|\bi['’]?m\s+(?:just\s+)?an?\s+(?:ai|language|text)\b"
    rf"|\b(?:no|without\s+(?:an?|the|any))\s+(?:\w+\s+)?{_IMAGE}\s+(?:\w+\s+)?(?:provided|attached|given|included"
    rf"|uploaded|available|supplied|visible|found|here|shared|was|is|has|in\s+(?:your|this|the)\s+(?:message|request"
    rf"|prompt))\b"
    rf"|\b(?:the|your|this|an)\s+{_IMAGE}\s+(?:(?:itself|you\s+\w+|was|is|did|has|could|does|seems|appears|to|be|been"
    rf"|were|are)\s+)*(?:not|n['’]t|missing|unavailable|blank|empty|corrupt\w*|broken|fail\w*)\s*"
    rf"(?:(?:been|be|have|properly|correctly|actually|to)\s+)*(?:provided|attached|included|uploaded|available"
    rf"|load\w*|accessible|visible|come\s+through|open\w*|display\w*|$|[.,;])"
    rf"|\b(?:please|kindly|could\s+you|can\s+you|would\s+you)\s+(?:\w+\s+)?(?:upload|provide|share|attach|send|resend"
    rf"|re-?upload|supply|describe|paste)\b"
    rf"|\b(?:there\s+is|there['’]s|i\s+see)\s+no\s+(?:\w+\s+)?{_IMAGE}(?:\s+(?:to|for|that\s+i|here|attached"
    rf"|i\s+can)\b|\W*$)"
    r"|\b(?:not\s+(?:enough|sufficient)|insufficient)\s+(?:information|context|detail|data)\b"
    r"|\bcannot\s+be\s+(?:determined|answered)\b|\bunable\s+to\s+(?:see|view|process|determine|assist|help|provide"
    r"|identify|access|answer)\b"
    r"|\bagainst\s+(?:my|our)\s+(?:policy|policies|guidelines)\b"
)
_EMPTY = re.compile(
    r"[\[<{]+(?:insert\b)?[A-Za-z _-]*(?:here|cue|description|text|placeholder)[\]>}]+\W*"
    r"|\W*(?:none|n/?a|null|nan|nil|undefined|unknown|empty|no\s+cue|not\s+applicable|error|todo|tbd"
    r"|no\s+(?:visual\s+)?(?:hint|evidence|description))?\W*",
    re.IGNORECASE,
)
_ECHO = re.compile(
    r"^\W*(?:question|choices|options|prompt|task|input|query)\s*(?:\d+\s*)?:|\b(?:choices|options"
    r"|answer\s+choices)\s*:\s*(?:\(?a\W|\S+\s*,)|"
    r"\b(?:describe|state|write|list|report|give|provide)\b.{0,40}\b(?:what\s+the\s+image\s+shows|visual\s+(?:cues?"
    r"|evidence)|visible\s+evidence|the\s+(?:relevant\s+)?evidence\s+(?:in|of)\s+the\s+image)"
    r"|\b(?:do\s+not|don['’]t|never)\s+(?:give|state|reveal|infer|solve|answer|conclude|calculate|mention|include"
    r"|compute)\b|\bwithout\s+(?:giving|revealing|stating|solving|answering)\b"
    r"|\b(?:your|the)\s+task\s+is\b|\byou\s+(?:are\s+given|will\s+(?:see|be\s+(?:given|shown)))\b|\b(?:in\s+(?:one"
    r"|at\s+most|no\s+more\s+than)\s+(?:\w+\s+)?(?:sentences?|words))\s*[.:,]?\s*$"
    r"|^\W*(?:here\s+is|here['’]s|sure|certainly|okay|of\s+course)[^.:]{0,60}:\s*$"
)
_MARKUP = re.compile(
    r"<!doctype|<html|<body|</?(?:div|span|script|table|svg|p|br)\b|^\s*(?:import\s+\w+|from\s+\w+\s+import"
    r"|def\s+\w+\(|function\s+\w+\(|#include|SELECT\s.+\sFROM\s|console\.log\(|print\()",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"```|~~~")
_THINKING = re.compile(
    r"</?\s*(?:think(?:ing)?|thought|reasoning|scratchpad|reflection)\s*>|◁/?think▷|^\W*(?:thinking|reasoning"
    r"|thought)\s*:",
    re.IGNORECASE,
)
CONTROL = re.compile(
    r"<\|[^|<>\n]{1,40}\|?>|<\s*/?\s*(?:s|eos|bos|pad|unk|image|img|video|start_of_turn|end_of_turn|vision_start"
    r"|vision_end|im_start|im_end|image_pad|system|assistant|user|human|tool_call|tool_response)\s*>"
    r"|\[/?(?:INST|SYS|SYSTEM|BOS|EOS|PAD|SEP|CLS|MASK|IMG|IMAGE)\]|<</?SYS>>|<｜[^｜<>\n]{1,40}｜>|<(?:unk|extra_id_\d+"
    r"|0x[0-9A-F]{2})>|\x00|\x1b"
)
HINT = re.compile(r"\[\s*/?\s*(?:hint|privileged?|teacher|cue)\s*\]\s*:?|^\W*hint\s*:", re.IGNORECASE)
_BROKEN = re.compile("[\ufffd\ufffe\uffff]|(?:Ã.|â€.|Â.){2,}")

_TRUNCATED_WORD = frozenset(
    re.findall(
        r"\S+",
        "a an the this that these those its their his her of in on at to from by for with as and or but nor so than "
        "which who whose is are was were be has have had can could will would may might shall should must into onto "
        "between about not no very each every both either labeled labelled marked called named i if when she he they it "
        "we who him them while because since there where over under above below left-hand right-hand",
    )
)
_ENDS = re.compile(r"[.!?。！？)\]}\"”'’»$%°|`…*_:]\W*$")


def find_unusable(cue: str, example: Posed) -> Iterator[Unusable]:
    """Yield the reasons why ``cue`` cannot be used. Injected instructions: :mod:`vicur.cues.injections`. Accepts any text."""
    text = on_lines(visible(cue[:SCANNED]))
    lower = text.casefold().replace("’", "'")
    if _EMPTY.fullmatch(text[:200]) or (
        re.fullmatch(r"\W*[a-z]\W*", text) and stems(text) != stems(example.answer) and "(" not in text
    ):
        yield Unusable("empty", cue.strip()[:200], 0, len(cue))
        return
    for rule, pattern, scanned in (
        ("refusal", _REFUSAL, lower),
        ("prompt", _ECHO, lower),
        ("code", _FENCE, text),
        ("code", _MARKUP, text),
        ("thinking", _THINKING, text),
        ("control token", CONTROL, cue[:SCANNED]),
        ("hint marker", HINT, text),
        ("damaged text", _BROKEN, text),
    ):
        match = pattern.search(scanned)
        if match is not None:
            yield located(rule, match[0].strip(), cue)
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


def on_lines(text: str) -> str:
    # Runs of blanks would make matching take quadratic time.
    return re.sub(r"\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text))


def located(rule: str, clause: str, cue: str) -> Unusable:
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
        return f" {' '.join(asked)} " in joined or (
            len(words) <= len(asked)
            and len(set(words) & set(asked)) >= 0.9 * len(set(words))
            and len(words) >= 5
            and words[0] == asked[0]
        )
    return False


def _repeats(words: list[str]) -> bool:
    """Return whether the same four words return again and again."""
    if len(words) >= 6 and len(set(words)) == 1 and words[0].isalpha():
        return True
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
    if bare.endswith((",", "-", "–", "(", "[", "{", "\\", "=", "+", "/", "&")) or (
        last in _TRUNCATED_WORD and (last.islower() and bare.split()[-1] == last)
    ):
        return True
    if (
        bare.count("(") > bare.count(")")
        or (bare.count("$") % 2 and "\\" in bare)
        or bare.count("“") > bare.count("”")
        or bare.count("{") > bare.count("}")
    ):
        return not _ENDS.search(bare) or bare.count("(") > bare.count(")")
    # A text in sentences whose last one does not end.
    body = bare.split("\n")[-1]
    ended = re.findall(r"[a-z]{2,}[.!?]\s+(?=[A-Z])", body)
    rest = re.split(r"[.!?]\s+", body)[-1]
    return bool(ended) and not _ENDS.search(body) and len(rest.split()) >= 2 and ":" not in rest and "=" not in rest
