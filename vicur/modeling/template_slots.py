"""Slots for user text in a rendered chat template.

The template may contain control tokens; user text must not. Each text is therefore tokenized separately, with special tokens split.
"""

from __future__ import annotations

import re

# Private-use characters. User text cannot interfere, because it is not part of the rendered string.
_SLOT = "\ue000{}\ue001"
_SLOTS = re.compile("\ue000(\\d+)\ue001")


def slot(number: int) -> str:
    """Return the placeholder of a text."""
    return _SLOT.format(number)


def split_slots(rendered: str) -> list[str | int]:
    """Split a rendered template into its own pieces and, between them, the numbers of the texts to insert."""
    # Splitting by a pattern with a group alternates between the two.
    return [int(piece) if index % 2 else piece for index, piece in enumerate(_SLOTS.split(rendered))]
