"""Extract the final answer from a response."""

from __future__ import annotations

import re

# The chain of thought does not count as the answer. If it never ends, the whole response is searched.
_THOUGHT_END = "</think>"
_MARKER = re.compile(
    r"""
    (?:^|(?<=[\s*_>#.:;,(]))                     # not inside a word ("Reanswer")
    (?:final\s+|correct\s+|right\s+)?
    (?:answer|choice|option)
    [*_]{0,3}
    (?:\s*:|\s+is\b:?|\s*=)                      # "Answer: 12", "the answer is 12", "answer = 12"
    [*_]{0,3}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TAG = re.compile(r"<answer>", re.IGNORECASE)
_TAG_END = re.compile(r"</answer>", re.IGNORECASE)
# Requires a space or the end of the text, so that the decimal point of "3.5" does not end the answer.
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_BARE_WORDS = 3
_MAX_LENGTH = 2000


def extract_answer(response: str) -> str | None:
    r"""Return the final answer that ``response`` states, without surrounding markup, or ``None``.

    The last of these forms counts: ``Answer: X`` (also "the answer is X"), ``\boxed{X}``, ``<answer>X</answer>``. A response of up to
    three words without any of them is itself the answer.
    """
    text = response.rpartition(_THOUGHT_END)[2]
    found = [(m.end(), read) for pattern, read in _READERS for m in pattern.finditer(text)]
    for end, read in sorted(found, key=lambda f: f[0], reverse=True):
        if answer := _without_markup(read(text[end : end + _MAX_LENGTH])):
            return answer
    if not found and 0 < len(text.split()) <= _BARE_WORDS:
        return _without_markup(text) or None
    return None


def _after_marker(rest: str) -> str:
    """Return the text after a marker up to the end of its sentence and line, or the next line if this one is empty."""
    line = next((line for line in rest.split("\n", 3)[:3] if line.strip(" \t*_")), "")
    if box := _BOX.search(line):
        return _inside_braces(line[box.end() :])
    return _SENTENCE_END.split(_TAG_END.split(line, maxsplit=1)[0], maxsplit=1)[0]


def _inside_braces(rest: str) -> str:
    """Return the text before the brace that closes an already opened one, or an empty string if it is never closed."""
    depth = 1
    for position, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:position]
    return ""


def _inside_tag(rest: str) -> str:
    return _TAG_END.split(rest, maxsplit=1)[0]


_READERS = ((_MARKER, _after_marker), (_BOX, _inside_braces), (_TAG, _inside_tag))


def _without_markup(answer: str) -> str:
    """Strip emphasis, quotes, formula delimiters and the full stop around ``answer``."""
    answer = answer.strip()
    # Markup nests in any order ("**$x$.**"), so strip until nothing changes.
    previous = None
    while answer != previous:
        previous = answer
        answer = answer.strip().strip("*_` \t\n").removesuffix(".").removesuffix(",")
        for opening, closing in (('"', '"'), ("“", "”"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
            if len(answer) > len(opening) + len(closing) and answer.startswith(opening) and answer.endswith(closing):
                answer = answer[len(opening) : -len(closing)]
        if box := re.fullmatch(r"\\(?:boxed|text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", answer):
            answer = box[1]
    return answer.strip()
