"""The text of a cue as a reader sees it, in clauses that know their place in the original.

Zero-width characters, spaced letters and look-alike letters of other scripts would hide a value from rules, but not from a teacher.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from vicur.answers.notation import plain, visible
from vicur.cues.statements import canonical

MAX_LENGTH = 4000
"""Characters of a cue that the audit reads. Longer cues are unusable anyway."""

# "t h i r t e e n", "M a r g a r e t": at least three single letters, and digits only between them.
_GAP = r"(?:[ \u00a0._-]| - )"
_SPACED = re.compile(rf"(?<![^\W_])[^\W\d_](?:{_GAP}[^\W\d_](?![^\W_])){{2,60}}")
_SPACES = re.compile(r"[ \u00a0._]")
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһԛԝАВЕКМНОРСТХУІЈЅαοντΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijsdhqwABEKMHOPCTXYIJSaovtABEZHIKMNOPTYX"
)
_MIXED_WORD = re.compile(r"\b(?=\w*[A-Za-z])(?=\w*[\u0370-\u03ff\u0400-\u052f])\w{3,40}\b")

# A full stop ends a sentence only before a space, and not behind an abbreviation.
_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bNo)(?<!\bFig)(?<!\bvs)(?<!\bapprox)(?<!\be\.g)(?<!\bi\.e)"
    r"[.!?;](?=[\s\"')\]*_]|$)[\"')\]*_]{0,9}\s{0,200}|[。！？；]\s{0,20}|(?<!:)(?<!: )[^\S\n]{0,20}\n(?!\s{0,20}(?:(?:is|are"
    r"|equals)\b|=))\s{0,200}",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r",?\s{1,9}(?:and|while|but|whereas)\s{1,9}(?=the\s)|,\s{1,9}(?=the\s)|,\s{1,9}(?=(?:so|which|making|giving|hence"
    r"|thus|therefore)\b)"
    r"|(?<=\s)(?:\||\u2014|\u2013)\s{1,9}|\s{0,9}(?:->|=>|\u2192|\u21d2)\s{0,9}|,\s{1,9}(?=(?:and|but)\s{1,9}(?:so"
    r"|thus|therefore|it|we|you|this|that)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Clause:
    """A part of a cue: its text as shown, and its place in the cue as given."""

    text: str
    start: int
    end: int

    @cached_property
    def plain(self) -> str:
        """The clause in the notation of the answer checker."""
        return plain(revealed(self.text))

    @cached_property
    def lower(self) -> str:
        """The clause in lower case, with numbers as digits (see :func:`vicur.cues.statements.canonical`)."""
        return canonical(revealed(self.text)).rstrip(".!?;,").strip()


def revealed(text: str) -> str:
    """Return ``text`` without characters that cannot be seen, spaces between letters, and look-alike letters."""
    text = visible(text)
    if not text.isascii():
        text = _MIXED_WORD.sub(lambda match: match[0].translate(_LOOKALIKES), text)
    return _SPACED.sub(_joined, text)


def _joined(match: re.Match[str]) -> str:
    word = _SPACES.sub("", re.sub(r"(?<=\S)-(?=\S)", "", match[0]))
    # "A B C" and "x y z" are names of points and variables: words have a vowel behind the first letter and are longer.
    if len(word) < 4 or word.isupper() or not re.search("[aeiouy]", word[1:], re.IGNORECASE):
        return match[0]
    # "M a r g a r e t H a l e": a capital letter begins another word.
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word)


def clauses_of(cue: str) -> list[Clause]:
    """Split a cue into clauses, at the ends of sentences and where a new statement or a conclusion begins."""
    cue = cue[:MAX_LENGTH]
    cuts = sorted({(match.start(), match.end()) for pattern in (_END, _JOINT) for match in pattern.finditer(cue)})
    found, start = [], 0
    for stop, after in [*cuts, (len(cue), len(cue))]:
        if stop >= start:
            found.append(Clause(cue[start:stop], start, stop))
            start = after
        else:
            start = max(start, after)
    return [each for each in found if each.text.strip(" \t.,;*_")]


def sentences_of(cue: str) -> list[Clause]:
    """Split a cue into sentences."""
    cue = cue[:MAX_LENGTH]
    found, start = [], 0
    for match in _END.finditer(cue):
        found.append(Clause(cue[start : match.start()], start, match.start()))
        start = match.end()
    found.append(Clause(cue[start:], start, len(cue)))
    return [each for each in found if each.text.strip(" \t.,;*_")]
