"""Prompts for evaluation: images, question and choices, without a hint."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.data.schema import Example
from vicur.modeling.ahead import DecodeAhead, example_pixels
from vicur.modeling.chat import Chat, Prompt
from vicur.prompts import merged


def prompts_for(
    chat: Chat, examples: Sequence[Example], ahead: DecodeAhead | None = None, *, images: bool = True
) -> list[Prompt]:
    """Build the prompts of ``examples``, in their order.

    Args:
        ahead: decodes their images; by default, each is decoded when it is needed.
        images: whether to show the images. Without, a prompt has the texts alone, and nothing in the place of an image.

    Raises:
        VicurError: if an image cannot be read or a question cannot be shown; the message names the example.
    """
    if not images:
        texts = [merged(part for part in chat.content(example) if isinstance(part, str)) for example in examples]
        return [chat.prompt(text, ()) for text in texts]
    return [
        chat.prompt(chat.content(example), example_pixels(chat, example, "evaluation", ahead)) for example in examples
    ]
