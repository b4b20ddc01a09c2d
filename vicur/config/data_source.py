"""What all sources of a dataset have in common: the settings of its prompts."""

from __future__ import annotations

from typing import Any, Self

from vicur.config.prompts import CHOICES_TEMPLATE, Budgets, ChoicesTemplate, PixelBudgets, PromptConfig, SystemPrompt
from vicur.config.section import Section

PROMPT_SETTINGS = ("pixels", "system_prompt", "choices_template")
"""Settings of the section ``data`` that shape prompts and not the dataset."""


class SourceConfig(Section):
    """A source of the dataset. Each has a class in :mod:`vicur.data.sources` that reads it."""

    type: str
    # These three do not change the prepared dataset, so its identity and its manifest leave them out.
    pixels: Budgets = PixelBudgets()
    """Size of images in prompts, in pixels: ``{min: 3584, max: 401408}`` for all prompts, or ``{evaluation: {max: 401408}}`` for those of
    one use (``student``, ``teacher``, ``evaluation``). Default: that of the checkpoint."""
    system_prompt: SystemPrompt = None
    """System message of all prompts, such as ``You are a helpful assistant.`` Default: none."""
    choices_template: ChoicesTemplate = CHOICES_TEMPLATE
    """Question and choices in all prompts, unless the question already lists the choices. The line with ``{letter}`` and ``{choice}`` is
    repeated for each choice."""

    @property
    def prompts(self) -> PromptConfig:
        """The settings of prompts."""
        return PromptConfig(system=self.system_prompt, choices_template=self.choices_template, pixels=self.pixels)

    def identity(self) -> dict[str, Any]:
        """Return the settings that the prepared dataset depends on."""
        return self.source().model_dump(mode="json")

    def source(self) -> Self:
        """Return the section without the settings of prompts."""
        defaults = {name: type(self).model_fields[name].default for name in PROMPT_SETTINGS}
        return self.model_copy(update=defaults)

    def with_prompts_of(self, other: SourceConfig) -> Self:
        """Return this source with the settings of prompts of another one."""
        return self.model_copy(update={name: getattr(other, name) for name in PROMPT_SETTINGS})
