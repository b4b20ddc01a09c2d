"""The prompts that a model is evaluated with: images and question, never a hint."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Chat, Pixels, Prompt


def prompts_for(chat: Chat, examples: Sequence[Example]) -> list[Prompt]:
    """Prompts of ``examples``, in their order. Each distinct image is prepared once.

    Raises:
        VicurError: naming the example, where an image cannot be read.
    """
    known: dict[bytes, Pixels] = {}
    prompts = []
    for example in examples:
        for image in example.images:
            if image not in known:
                known[image] = _pixels(chat, image, example)
        prompts.append(chat.prompt(example.question, [known[image] for image in example.images]))
    return prompts


def _pixels(chat: Chat, image: bytes, example: Example) -> Pixels:
    try:
        return chat.pixels(image)
    except VicurError as error:
        raise VicurError(error.problem, where=f"example {example.id}, images", remedy=error.remedy) from error
