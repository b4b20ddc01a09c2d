"""Marks that stand for a user's text while a chat template is rendered around it.

What a template writes may hold control tokens; what a user wrote may not. Each text is tokenized by itself, with special tokens split.
"""

from __future__ import annotations

import re

# Private-use characters. Texts are never searched for them: no text is in what is rendered.
_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000(\\d+)\ue001")


def mark(number: int) -> str:
    """The mark of a text."""
    return _MARK.format(number)


def split_marks(rendered: str) -> list[str | int]:
    """A rendered template as its own pieces, and between them the numbers of the texts that go there."""
    # Splitting by a pattern with a group alternates the two.
    return [int(piece) if index % 2 else piece for index, piece in enumerate(_MARKS.split(rendered))]
