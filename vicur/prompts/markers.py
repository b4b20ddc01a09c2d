r"""Markers of images in a text: ``<image>``, or with its number ``<image 1>``, ``<image1>``, ``<image_1>``, ``<|image_1|>``.

Unnumbered markers mean the images in their order. Numbered ones count from 1, or from 0 if a marker has the number 0; they may come in
any order, and a repeated number shows its image again. Every image needs a place.

The one video of an example about a video is marked by ``<video>`` or, as many datasets do, by ``<image>``.

A marker in backticks (code) and one after a backslash (``\<image>``) are text. The backslash is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NUMBER = r"[\s_:#-]{{0,2}}(?P<{name}>\d{{1,4}})"
_PLAIN = rf"<(?:image|IMAGE|(?i:image|img){_NUMBER.format(name='plain')})>"
_PIPED = rf"<\|(?:image|IMAGE|(?i:image|img){_NUMBER.format(name='piped')})\|>"
_VIDEO = r"<(?:video|VIDEO)>|<\|(?:video|VIDEO)\|>"
_FORM = r"(?P<code>```.*?```|`[^`\n]+`)|(?P<escape>\\?)(?P<marker>{})"
_TOKENS = re.compile(_FORM.format(f"{_PLAIN}|{_PIPED}"), re.DOTALL)
_TOKENS_OR_VIDEO = re.compile(_FORM.format(f"{_PLAIN}|{_PIPED}|{_VIDEO}"), re.DOTALL)
# Repetitions beyond this only make a prompt long.
_MOST_REPETITIONS = 32


class ContentError(ValueError):
    """A question whose images or choices cannot be shown.

    Attributes:
        field: the field at fault.
        reason: what is wrong with it.
        remedy: what to do.
    """

    def __init__(self, field: str, reason: str, remedy: str) -> None:
        super().__init__(f"{field}: {reason}. {remedy}")
        self.field, self.reason, self.remedy = field, reason, remedy


@dataclass(frozen=True)
class Marker:
    """A marker in a text."""

    text: str
    number: int | None  # None if it has none


def parse(text: str, *, is_video: bool = False) -> tuple[str | Marker, ...]:
    """Split a text into its markers and the texts between them. ``<video>`` is one if the example is about a video."""
    return tuple(_pieces(text, _TOKENS_OR_VIDEO if is_video else _TOKENS)) if "<" in text else (text,)


def _pieces(text: str, tokens: re.Pattern[str]) -> Iterator[str | Marker]:
    end = 0
    for match in tokens.finditer(text):
        if match["code"]:
            continue
        before = text[end : match.start()]
        end = match.end()
        if match["escape"]:
            yield before + match["marker"]
            continue
        yield before
        number = match["plain"] or match["piped"]
        yield Marker(match["marker"], None if number is None else int(number))
    yield text[end:]


def escaped(text: str, *, is_video: bool = False) -> str:
    """Return a text in which nothing is a marker: :func:`parse` gives back ``text`` alone. Code is left as it is."""
    tokens = _TOKENS_OR_VIDEO if is_video else _TOKENS
    return tokens.sub(lambda match: match[0] if match["code"] else f"\\{match[0]}", text)


def places(markers: Sequence[Marker], images: int) -> list[int]:
    """Return the index of each marker's image, among ``images`` of them.

    Raises:
        ContentError: if markers and images do not match.
    """
    numbers = [marker.number for marker in markers if marker.number is not None]
    if numbers and len(numbers) < len(markers):
        raise _mismatch("has image markers with and without numbers", "Use one form for all.")
    if not numbers:
        if markers and len(markers) != images:
            raise _mismatch(f"marks the places of {_counted(len(markers))}, but the row has {images}", _REMEDY)
        return list(range(len(markers)))
    first = min(1, *numbers)
    named = sorted({number - first for number in numbers})
    if named != list(range(images)):
        listed = ", ".join(str(place + first) for place in named[:8])
        more = ", ..." if len(named) > 8 else ""
        raise _mismatch(f"names the images {listed}{more}, but the row has {_counted(images)}", _REMEDY)
    if len(numbers) > images + _MOST_REPETITIONS:
        raise _mismatch(f"names {_counted(images)} {len(numbers)} times", "Name each image where it is needed.")
    return [number - first for number in numbers]


def require_one_place(markers: Sequence[Marker]) -> None:
    """Check the markers of an example about a video.

    Raises:
        ContentError: if they are several, or mean something else.
    """
    if len(markers) > 1:
        raise _mismatch(f"marks {len(markers)} places, but the row has one video", _VIDEO_REMEDY)
    if any(marker.number not in (None, 0, 1) for marker in markers):
        raise _mismatch(f"names {markers[0].text}, but the row has one video", _VIDEO_REMEDY)


_VIDEO_REMEDY = r"Mark its place once with <video>; write \<video> where the text itself is meant."
_REMEDY = r"Add the missing images or remove markers; write \<image> where the text itself is meant."


def _counted(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


def _mismatch(reason: str, remedy: str) -> ContentError:
    return ContentError("question", reason, remedy)
