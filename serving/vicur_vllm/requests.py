"""Prompts as vLLM takes them."""

from __future__ import annotations

from vicur.modeling.chat import Prompt


def prompt_ids(prompt: Prompt) -> list[int]:
    """Token ids of a prompt with one placeholder for each image: vLLM itself repeats it, once it has prepared the image."""
    return prompt.short_ids
