"""Prompts for evaluation: images, question and choices, without a hint."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Chat, Pixels, Prompt


def prompts_for(chat: Chat, examples: Sequence[Example]) -> list[Prompt]:
    """Build the prompts of ``examples``, in their order. Each distinct image is preprocessed once.

    Raises:
        VicurError: if an image cannot be read or a question cannot be shown; the message names the example.
    """
    # Keyed by the encoded bytes: all questions about one scene carry their own copy of its image.
    cache: dict[bytes, Pixels] = {}
    prompts = []
    for example in examples:
        for image in example.images:
            if image not in cache:
                cache[image] = _pixels(chat, image, example)
        prompts.append(chat.prompt(chat.content(example), [cache[image] for image in example.images]))
    return prompts


def _pixels(chat: Chat, image: bytes, example: Example) -> Pixels:
    try:
        return chat.pixels(image, "evaluation")
    except VicurError as error:
        # The chat does not know which example an image belongs to.
        raise VicurError(error.problem, where=f"example {example.id}, images", remedy=error.remedy) from error
