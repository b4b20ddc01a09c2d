"""Tell whether two texts are in different languages: by script, and by the small words that every sentence of a language has."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from vicur.cues.plain_text import revealed

# Small words that no other language of this list has, or rarely.
_SMALL_WORDS = {
    "en": (
        "the is are of and with in on at it its this that from to has have by for an was were which there labeled shows "
        "reads above below do does not no but or as be been can will they we you he she his her their one two three "
        "four five six seven eight nine ten all each between left right top bottom into than then so if when where what how many most more "
        "red blue green white black line bar side"
    ),
    "de": (
        "der die das und ist sind mit ein eine einer dem den des auf im von zu zum zur bei nicht über unter zwei drei "
        "auch wird"
    ),
    "fr": "le la les des du et est sont avec une un dans sur par pour qui que au aux de il elle ce cette deux trois",
    "es": "el la los las del es son con una un en por para que se al de está están hay dos tres lleva este esta",
    "it": "il lo la gli le del della dei delle sono con una un in per che di da al alla due tre nel nella questo",
    "pt": "o não os as do da dos das são com uma um em por para que no na de ao dois duas três está há",
    "nl": "de het een en is zijn met van op in te dat die voor aan bij niet er naar twee drie wordt staat",
    "pl": "na jest są do nie się to od po przez dla oraz ten ta dwa trzy pod nad",
    "sv": "och är en ett på med som av den det för till har inte om två tre över under",
    "tr": "bir ve bu ile için olan da de iki üç var üzerinde altında sol sağ",
    "id": "yang dan di ke dari ini itu dengan untuk pada adalah ada dua tiga gambar sebuah",
    "vi": "và là của có trong một các với cho được này hai ba trên dưới",
}
_FOREIGN = {language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_QUOTED = re.compile(r"[\"“„«‘]([^\"”»’]{1,200})[\"”»’]")
_SHARE = 0.25


def differs(cue: str, question: str) -> bool:
    """Return whether a cue is in another language than its question. Short or doubtful texts are not."""
    cue = _QUOTED.sub(" ", revealed(cue))
    own, asked = scripts(cue), scripts(question)
    total = sum(own.values())
    if not total or not sum(asked.values()):
        return False
    main = asked.most_common(1)[0][0]
    # Kanji and kana are one language's; Greek letters are mathematics, as Latin letters are in any language.
    foreign = sum(
        count
        for script, count in own.items()
        if script != main and script not in asked and script != "GREEK" and (script != "LATIN" or main == "LATIN")
    )
    if foreign >= 2 and foreign >= _SHARE * total:
        return True
    if main != "LATIN":
        latin = own.get("LATIN", 0)
        return latin > 20 and latin >= 0.8 * total and language_of(cue) is not None
    spoken, asked_in = language_of(cue), language_of(question) or "en"
    return spoken is not None and spoken != asked_in


@lru_cache(maxsize=4096)
def scripts(text: str) -> Counter[str]:
    """Count the letters of a text by script."""
    if text.isascii():
        letters = sum(character.isalpha() for character in text)
        return Counter({"LATIN": letters} if letters else {})
    found: Counter[str] = Counter()
    for character in text[:4000]:
        if character.isalpha():
            name = unicodedata.name(character, "").split(" ", 1)[0]
            # One sign of these scripts is about a word.
            found[{"HIRAGANA": "CJK", "KATAKANA": "CJK"}.get(name, name)] += 2 if name in ("CJK", "HANGUL") else 1
    return found


@lru_cache(maxsize=4096)
def language_of(text: str) -> str | None:
    """Return the language of a text in Latin letters, or ``None`` if its small words do not tell."""
    words = [word.casefold() for word in _WORD.findall(text)][:400]
    if len(words) < 3:
        return None
    counts = {language: sum(word in small for word in words) for language, small in _FOREIGN.items()}
    kinds = {language: len({word for word in words if word in small}) for language, small in _FOREIGN.items()}
    best = max(counts, key=lambda language: (counts[language], kinds[language]))
    others = max(count for language, count in counts.items() if language != best)
    # Names and labels can be small words by chance ("La Paz", "D. Das").
    if kinds[best] < 2 or counts[best] < 0.15 * len(words) or counts[best] <= others:
        return None
    return best
