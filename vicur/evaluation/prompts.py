"""Prompts for evaluation: images, question and choices, without a hint."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.data.schema import Example
from vicur.modeling.ahead import DecodeAhead, example_pixels
from vicur.modeling.chat import Chat, Prompt


def prompts_for(chat: Chat, examples: Sequence[Example], ahead: DecodeAhead | None = None) -> list[Prompt]:
    """Build the prompts of ``examples``, in their order. ``ahead`` decodes their images; by default, each is decoded when it is needed.

    Raises:
        VicurError: if an image cannot be read or a question cannot be shown; the message names the example.
    """
    return [
        chat.prompt(chat.content(example), example_pixels(chat, example, "evaluation", ahead)) for example in examples
    ]
