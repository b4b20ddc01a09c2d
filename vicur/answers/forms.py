"""Find the forms in which responses state their final answer: markers, boxes, tags, JSON, headings."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal

Form = Literal["marker", "sentence", "box", "tag", "json", "hashes"]
BOX: Form = "box"

# The chain of thought does not count as the answer.
THOUGHT_START, THOUGHT_END = "<think>", "</think>"
_MARKER = re.compile(
    r"""
    (?:^|(?<=[\s*_>#.:;,(]))                     # not inside a word ("Reanswer")
    (?:final\s+|correct\s+|right\s+|best\s+)?
    (?:answer|ans|choice|option)
    (?:\s(?:to|for)\s[^.:=\n]{1,60}?)?           # "the answer to the question is"
    [*_]{0,3}
    (?:\s*(?P<colon>[:\uff1a])|\s+(?:is|are|would\ be|should\ be|must\ be|will\ be)\b[:\uff1a]?|\s*=)
    [*_]{0,3}
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
# "Final answer – 14". A hyphen may be a sign of the number.
_DASHED = re.compile(
    r"^[ \t>*_#]{0,8}(?:the[ \t]+)?(?:(?:final|correct)[ \t]+)?answer[*_]{0,3}[ \t]+[–—][ \t]+"
    r"(?![^\n]*[ \t][–—][ \t])",  # "The answer – as we saw – is 14."
    re.IGNORECASE | re.MULTILINE,
)
# "答案：3", "最终答案是 3。" and "故选 B" are Chinese for "answer: 3", "the final answer is 3." and "so choose B"; 不 is "not".
_CHINESE = re.compile(
    r"(?:最终|最后|正确)?(?:的)?答案(?:应该|应)?\s*(?:[:\uff1a]|[是为])\s*[:\uff1a]?"
    r"|(?:故|因此|所以|(?<!不)应)应?选择?\s*[:\uff1a]?\s*(?=[(\uff08]?[A-Z])"
)
_CHINESE_IF = re.compile(r"(?:如果|假设|假如|若)\w{0,4}$")
_HEADING = re.compile(
    r"^[ \t>]{0,3}(?:\#{1,6}[ \t]*|\*\*|__)[ \t]*(?:\d+\.[ \t]*)?(?:(?:the[ \t]+)?(?:final|correct)[ \t]+)?"
    r"answer[ \t]*(?:\*\*|__)?[ \t]*(?:\n|$)",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=[0-9A-Za-z]))")
_TAG = re.compile(r"<answer>", re.IGNORECASE)
_TAG_END = re.compile(r"</answer>", re.IGNORECASE)
_KEY = re.compile(r"""["'](?:final[_ ]?)?answer["']\s*:\s*""", re.IGNORECASE)
_HASHES = re.compile(
    r"^[ \t]{0,3}####[ \t]*(?=\S)(?!#)(?!(?:the )?(?:final |correct )?answer\b)", re.IGNORECASE | re.MULTILINE
)
MARKERS = (_MARKER, _DASHED, _BOX, _TAG)
"""Forms that show that the response means to state its answer, even if the answer is missing."""

# "If the answer is 5, then ..." does not state it.
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|supposing|assume|assuming|unless|claims?|claimed|doubt|doubts|"
    r"(?:not|n't) (?:say|mean|think))\s+(?:that\s+)?(?:the\s+|my\s+|our\s+)?$",
    re.IGNORECASE,
)
# Requires a space or the end of the text, so that the decimal point of "3.5" does not end the answer.
# "5!" is a factorial, so the sign belongs to the number, unless a sentence follows.
_SENTENCE_END = re.compile(r"。|(?<!\.)(?:[.?](?=\s|$)|(?<![\d)}\]])!(?=\s|$)|!(?=\s+(?:I\b|[A-Z][a-z])))")
_NO_END = re.compile(
    r"(?:\b(?:[ap]\.?\s?m|st|dr|mr|mrs|ms|vs|no|approx|sq|ft|in|oz|lbs?|[a-z]\.[a-z]))$", re.IGNORECASE
)
_LAST_WORD = re.compile(r"[ \t]*(\w+)\s*\.?\s*")
_LABEL = re.compile(r"\s*(?:option |choice )?\(?[A-Za-z]\)?", re.IGNORECASE)
_DISPLAY = (("$$", "$$"), ("\\[", "\\]"))
MAX_LENGTH = 2000
_MOST = 40  # matches of a form that are looked at, from the end


def form_texts(text: str) -> Iterator[tuple[Form, int, int, str]]:
    """Yield each form in ``text`` with its start, the end of its answer, and the answer with its markup."""
    # Substrings are looked for first: training checks every response, and most have one marker only.
    lower = text.lower()
    if "答案" in text or "选" in text:
        for match in _last(_CHINESE, text):
            if not _CHINESE_IF.search(text[max(0, match.start() - 8) : match.start()]):
                answer, length = _after_marker(text[match.end() : match.end() + MAX_LENGTH])
                yield "marker", match.start(), match.end() + length, answer
    if "ans" in lower or "choice" in lower or "option" in lower:
        for match in _last(_MARKER, text):
            if match["colon"] or not _SUPPOSED.search(text[max(0, match.start() - 40) : match.start()]):
                answer, length = _after_marker(text[match.end() : match.end() + MAX_LENGTH])
                yield "marker" if match["colon"] else "sentence", match.start(), match.end() + length, answer
        if "–" in text or "—" in text:
            for match in _last(_DASHED, text):
                answer, length = _after_marker(text[match.end() : match.end() + MAX_LENGTH])
                yield "marker", match.start(), match.end() + length, answer
        if any(sign in text for sign in "<{#*_"):
            yield from _fenced(text)
    for match in _last(_BOX, text) if "\\" in text else ():
        rest = text[match.end() : match.end() + MAX_LENGTH]
        answer = inside_braces(rest) if match[0].endswith("{") else rest.split(maxsplit=1)[0].rstrip("$.,")
        yield "box", match.start(), match.end() + len(answer) + 1, answer
    if "####" in text:
        lines = _last(_HASHES, text)
        # A heading of the fourth level has text below it.
        if lines and "\n" not in text[lines[-1].end() :].strip():
            yield "hashes", lines[-1].start(), len(text), text[lines[-1].end() :]


def _last(pattern: re.Pattern[str], text: str) -> Sequence[re.Match[str]]:
    # A degenerate response repeats itself thousands of times.
    return deque(pattern.finditer(text), maxlen=_MOST)


def _fenced(text: str) -> Iterator[tuple[Form, int, int, str]]:
    for match in _last(_TAG, text):
        answer = _TAG_END.split(text[match.end() : match.end() + MAX_LENGTH], maxsplit=1)[0]
        yield "tag", match.start(), match.end() + len(answer), answer
    for match in _last(_KEY, text):
        answer, length = _json_value(text[match.end() : match.end() + MAX_LENGTH])
        yield "json", match.start(), match.end() + length, answer
    for match in _last(_HEADING, text):
        answer, length = _after_marker(text[match.end() : match.end() + MAX_LENGTH])
        # "The answer is 7." below the heading is a separate statement.
        if not _MARKER.search(answer):
            yield "marker", match.start(), match.end() + length, answer


def inside_braces(rest: str) -> str:
    """Return the text before the brace that closes an already opened one, or an empty string if it is never closed."""
    depth = 1
    for position, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:position]
    return ""


def _after_marker(rest: str) -> tuple[str, int]:
    """Return the text after a marker up to the end of its sentence and line, and where it ends.

    If the line is empty, the next one counts. Display math may span lines.
    """
    if word := _LAST_WORD.fullmatch(rest):
        return word[1], word.end(1)
    offset = 0
    for line in rest.split("\n", 3)[:3]:
        if line.strip(" \t*_>"):
            break
        offset += len(line) + 1
    else:
        return "", 0
    body = rest[offset:]
    for opening, closing in _DISPLAY:
        if body.lstrip(" \t*_>").startswith(opening) and body.partition(opening)[2].partition(closing)[1]:
            inner = body.partition(opening)[2].partition(closing)[0]
            box = _BOX.search(inner)
            end = offset + body.index(opening) + len(opening) + len(inner)
            return (_boxed(inner, box) if box else inner), end
    line = body.split("\n", 1)[0]
    answer = _first_sentence(_TAG_END.split(line, maxsplit=1)[0])
    # A box in a later sentence is a separate statement.
    if (box := _BOX.search(line)) and (box.start() < len(answer) or not answer.strip()):
        return _boxed(line, box), offset + len(line)
    return answer, offset + len(answer)


def _boxed(text: str, box: re.Match[str]) -> str:
    rest = text[box.end() :]
    return inside_braces(rest) if box[0].endswith("{") else rest


def _first_sentence(line: str) -> str:
    for end in _SENTENCE_END.finditer(line):
        before = line[: end.start()]
        # The full stop of "B. 15 cm", "9:45 a.m. today" or "No. 7" ends no sentence.
        if _NO_END.search(before) or (_LABEL.fullmatch(before) and end[0] == "." and line[end.end() :].strip()):
            continue
        return before
    return line


def _json_value(rest: str) -> tuple[str, int]:
    try:
        value, end = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode(rest)
    except (ValueError, RecursionError):
        quoted = re.match(r"""'([^'\n]*)'""", rest)
        return (quoted[1], quoted.end()) if quoted else ("", 0)
    if isinstance(value, list):
        return ", ".join(map(str, value)), end
    if isinstance(value, bool):
        return str(value).lower(), end
    return ("" if value is None or isinstance(value, dict) else str(value)), end
