"""Settings of blind accuracy: the accuracy that a model reaches without seeing the image of a question."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vicur.config.section import Section

BlindView = Literal["no_image", "other_image"]
"""What a model sees in place of the image: nothing, or the image of a question about another scene."""


def _unique(views: tuple[BlindView, ...]) -> tuple[BlindView, ...]:
    return tuple(dict.fromkeys(views))


class BlindConfig(Section):
    """Questions that are answered again without their image, to find out which of them do not need it."""

    views: Annotated[tuple[BlindView, ...], AfterValidator(_unique)] = ()
    """Images of the prompts: ``no_image`` removes the image, ``other_image`` replaces it by that of a question about another scene.
    Empty (default) measures no blind accuracy. Each view answers ``max_examples`` questions again."""
    max_examples: int | None = Field(default=500, ge=1)
    """Maximum number of questions per split, a seeded sample of those that are evaluated. ``null``: all of them."""
