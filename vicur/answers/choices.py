"""Check which choice a response names: by its letter, by its text, by both if they agree, or by an equal value."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache

from vicur.answers.compare import same_value
from vicur.answers.extract import framed_answer
from vicur.answers.notation import plain, stripped
from vicur.answers.statements import is_doubtful, remark, values

_LETTER = r"(?:option|choice|answer|letter)?\s*[(\[<]?(?P<letter>[A-Za-z])[)\]>]?"
_LABEL = re.compile(
    rf"{_LETTER}(?:\s*(?:[).:,;=\]]|-(?=[\s]))\s*(?P<text>.*)|\s*\((?P<remark>.+)\)|\s*)", re.IGNORECASE | re.DOTALL
)
_BRACKETED = re.compile(r"[(\[](?P<letter>[A-Za-z])[)\]]\s*(?P<text>.*)", re.DOTALL)
_SPACED = re.compile(r"(?:option|choice)?\s*(?P<letter>[A-Z])\s+(?P<text>\S.*)", re.DOTALL | re.IGNORECASE)
_SENTENCE_WORDS = 4
_REASON = re.compile(r"because\b|since\b|as\b|因为|由于", re.IGNORECASE)
_LETTER_BEHIND = re.compile(r"(?P<negated>not )?(?P<named>(?:option |choice |answer )?[A-Z])", re.IGNORECASE)


@lru_cache(maxsize=4096)
def choice_texts(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return the choices in plain notation, without their letters ("A. 12", "B. 15")."""
    texts = [plain(choice) for choice in choices]
    labels = [label(text) for text in texts]
    if all(found and found[0] == place and found[1] for place, found in enumerate(labels)):
        return tuple(found[1] for found in labels if found)
    return tuple(texts)


def named_choice(text: str, choices: Sequence[str]) -> int | None:
    """Return the index of the choice that a dataset's answer names by its text or letter, or ``None``."""
    texts = choice_texts(tuple(choices))
    answer = plain(text)
    for place, choice in enumerate(texts):
        if choice and (choice == answer or plain(choices[place]) == answer):
            return place
    found = label(answer)
    if found is not None and found[0] < len(texts) and (not found[1] or same_value(texts[found[0]], found[1])):
        return found[0]
    equal = [place for place, choice in enumerate(texts) if same_value(choice, answer)]
    return equal[0] if len(equal) == 1 else None


def canonical_choice(answer: str, choices: Sequence[str]) -> str | None:
    """Return a dataset's answer as the text or letter of a choice: ``<answer>B</answer>`` is ``B``. ``None`` if it names no choice."""
    if answer in choices or answer in string.ascii_uppercase[: len(choices)]:
        return answer
    # An answer may be framed like a response.
    place = named_choice(framed_answer(answer) or answer, choices)
    return None if place is None else choices[place]


def label(text: str) -> tuple[int, str] | None:
    """Split ``(B) 15 cm``, ``B, 15 cm``, ``Option B`` or ``B`` into the letter's index and the text behind it."""
    match = _LABEL.fullmatch(text) or _BRACKETED.fullmatch(text)
    if match is None:
        return None
    behind = match.groupdict().get("text") or match.groupdict().get("remark") or ""
    return string.ascii_uppercase.index(match["letter"].upper()), stripped(behind)


def names_choice(right: int, stated: str, choices: Sequence[str]) -> bool:
    """Return whether an answer in plain notation names choice ``right`` and no other one."""
    texts = choice_texts(tuple(choices))
    for reading in values(stated):
        named = _named(reading, texts)
        if named is not None:
            return named == {right} or any(texts[place] == texts[right] for place in named)
    return False


def _named(reading: str, texts: Sequence[str]) -> set[int] | None:
    """Return the choices that a reading names (none if it contradicts itself), or ``None`` if it is about something else."""
    # Texts take precedence over letters, because choices may be letters themselves.
    folded = reading.casefold()
    if exact := {place for place, text in enumerate(texts) if text.casefold() == folded}:
        return exact
    head, behind = remark(reading)
    if (letter := _LETTER_BEHIND.fullmatch(behind)) and (named := _named(head, texts)):
        # "13 (option D)", "13 (not C)"
        other = _named(letter["named"], texts) or set()
        return named - other if letter["negated"] else named & other
    found = label(reading) or _spaced(reading, texts)
    if found is not None and found[0] < len(texts):
        place, behind = found
        return {place} if not behind or _supports(behind, place, texts) else set()
    equal = {place for place, text in enumerate(texts) if same_value(text, reading)}
    # A value that fits several choices ("0.5" with "1/2" and "2/4") names none of them.
    return None if not equal else equal if len(equal) == 1 else set()


def _spaced(reading: str, texts: Sequence[str]) -> tuple[int, str] | None:
    """Read ``B 15 cm``. Only the text of a choice may follow the letter without a sign: "a dog" has no letter."""
    match = _SPACED.fullmatch(reading)
    if match is None:
        return None
    place = string.ascii_uppercase.index(match["letter"].upper())
    behind = match["text"]
    return (
        (place, behind)
        if place < len(texts) and any(same_value(text, behind) for text in texts) and len(reading) > 2
        else None
    )


def _supports(behind: str, place: int, texts: Sequence[str]) -> bool:
    """Return whether the text behind a letter is that of its choice, or an explanation that names no choice at all."""
    readings = list(values(behind))
    if any(same_value(texts[place], reading) for reading in readings):
        return True
    if any(same_value(text, reading) for text in texts for reading in readings) or label(behind) is not None:
        return False
    is_sentence = len(behind.split()) >= _SENTENCE_WORDS or _REASON.match(behind) is not None
    return is_sentence and not is_doubtful(behind)
