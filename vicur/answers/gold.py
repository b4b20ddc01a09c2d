"""Check that an answer of a dataset can be met: a response that states exactly this answer must be judged correct."""

from __future__ import annotations

import re
from functools import lru_cache

from vicur.answers.correct import gold_value, matches
from vicur.answers.strict import strict_answer

_FRAMES = ("The answer is {}.", "\\boxed{{{}}}", "<answer>{}</answer>", "Answer: {}")
# Answers that need no trial, so that a million of them take a second: a number or a word.
_PLAIN = re.compile(r"-?[0-9]{1,18}|[A-Za-z]{1,40}")

# Frames and markup, which are not an answer without something inside.
_EMPTY = re.compile(r"</?answer>|\\(?:boxed|fbox|text|mathrm)\b|[\s${}().,;:*_\"'#-]", re.IGNORECASE)


@lru_cache(maxsize=65536)
def can_be_met(answer: str, choices: tuple[str, ...] = ()) -> bool:
    """Return whether some usual form of stating ``answer`` is judged correct by the strict extractor, which rewards use."""
    if _PLAIN.fullmatch(answer) and not choices:
        return True
    if not _EMPTY.sub("", answer):
        return False
    value = gold_value(answer)
    for text in dict.fromkeys((answer, value)):
        for frame in _FRAMES:
            stated = strict_answer(frame.format(text))
            if stated is not None and matches(answer, stated, choices):
                return True
    return False
