"""Prompts as vLLM takes them."""

from __future__ import annotations

from vicur.modeling.chat import Prompt


def prompt_ids(prompt: Prompt) -> list[int]:
    """Token ids of a prompt with one placeholder for each image: vLLM itself repeats it, once it has prepared the image."""
    waiting = iter(prompt.pixels)
    ids: list[int] = []
    left = 0
    for token, kind in zip(prompt.ids, prompt.types, strict=True):
        if kind and left:
            left -= 1
            continue
        ids.append(token)
        if kind:
            left = next(waiting).tokens - 1
    return ids
