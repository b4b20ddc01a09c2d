"""The content of a user's turn: the question with its choices, and the images or the video at their places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from vicur.config.prompts import CHOICE, CHOICES_TEMPLATE, LETTER, QUESTION
from vicur.prompts.choices import LETTERS, MOST_CHOICES, are_letters, lists_choices, unlabelled
from vicur.prompts.markers import ContentError, Marker, parse, places, require_one_place
from vicur.prompts.parts import Content, ImagePart, VideoPart, merged

_PLACEHOLDERS = re.compile("|".join(map(re.escape, (QUESTION, LETTER, CHOICE))))
_Pieces = tuple[str | Marker, ...]


def content_of(
    question: str,
    choices: Sequence[str] = (),
    images: int = 0,
    template: str = CHOICES_TEMPLATE,
    *,
    is_video: bool = False,
) -> Content:
    """Return the content of the turn with a question about a number of images, or about one video.

    The choices are lettered as the template says, unless the question lists them already or they are only letters in an image. Images are
    placed at their markers, or come first if there are none.

    Raises:
        ContentError: if the markers do not match the images, or there are more choices than letters.
    """
    pieces, markers = _pieces_of(question, choices, template, is_video)
    if is_video:
        require_one_place(markers)
        first = () if markers else (VideoPart(),)
        return merged((*first, *(VideoPart() if isinstance(piece, Marker) else piece for piece in pieces)))
    if not markers:
        return merged((*map(ImagePart, range(images)), *(str(piece) for piece in pieces)))
    # Unnumbered markers count in the order question, choices, wherever the template puts these.
    images_of = dict(zip(map(id, markers), places(markers, images), strict=True))
    return merged(ImagePart(images_of[id(piece)]) if isinstance(piece, Marker) else piece for piece in pieces)


def check_content(question: str, choices: Sequence[str], images: int, *, is_video: bool = False) -> None:
    """Check that a question can be shown.

    Raises:
        ContentError: if it cannot.
    """
    content_of(question, choices, images, is_video=is_video)


def shown_text(question: str, choices: Sequence[str] = (), template: str = CHOICES_TEMPLATE) -> str:
    """Return the text of the content for a reader, with the markers as in the dataset."""
    if not choices or len(choices) > MOST_CHOICES:
        return question
    pieces, _ = _pieces_of(question, choices, template, is_video=False)
    return "".join(piece.text if isinstance(piece, Marker) else piece for piece in pieces)


def _pieces_of(
    question: str, choices: Sequence[str], template: str, is_video: bool
) -> tuple[list[str | Marker], list[Marker]]:
    """Return texts and markers in the order of the prompt, and the markers in the order of the dataset."""
    if len(choices) > MOST_CHOICES:
        raise ContentError(
            "choices",
            f"has {len(choices)} choices, but there are letters for {MOST_CHOICES}",
            "Remove choices, or ask an open question.",
        )
    asked = parse(question, is_video=is_video)
    offered: list[_Pieces] = []
    if choices and not are_letters(choices) and not lists_choices(question, choices):
        offered = [parse(choice, is_video=is_video) for choice in unlabelled(choices)]
    pieces = [*_filled(template, asked, offered)] if offered else [*asked]
    in_dataset = [piece for part in (asked, *offered) for piece in part if isinstance(piece, Marker)]
    return pieces, in_dataset


def _filled(template: str, question: _Pieces, choices: Sequence[_Pieces]) -> Iterator[str | Marker]:
    """Fill a template in one pass: placeholders in a question or choice are text."""
    for number, line in enumerate(template.split("\n")):
        if number:
            yield "\n"
        if CHOICE not in line:
            yield from _line(line, {QUESTION: question})
            continue
        for place, choice in enumerate(choices):
            if place:
                yield "\n"
            yield from _line(line, {LETTER: (LETTERS[place],), CHOICE: choice})


def _line(line: str, values: dict[str, _Pieces]) -> Iterator[str | Marker]:
    end = 0
    for match in _PLACEHOLDERS.finditer(line):
        yield line[end : match.start()]
        yield from values.get(match[0], (match[0],))
        end = match.end()
    yield line[end:]
