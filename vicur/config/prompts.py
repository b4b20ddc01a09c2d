"""How examples become prompts: system prompt, template of choices and pixel budgets.

They are written in the section ``data``, because they belong to a dataset as its annotators saw it, but they do not change the prepared
dataset. Every stage that builds prompts has its own copy, which is part of the identity of its results
(:mod:`vicur.config.prompted`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from vicur.config.section import Section

PromptUse = Literal["student", "teacher", "evaluation"]
"""What a prompt is for. Each use has a pixel budget."""

_LONGEST_SYSTEM_PROMPT = 20_000  # characters
_LONGEST_TEMPLATE = 2_000  # characters
_MOST_PIXELS = 178_956_970  # above this, Pillow refuses to decode an image

QUESTION, LETTER, CHOICE = "{question}", "{letter}", "{choice}"
"""Placeholders of a template of choices."""

CHOICES_TEMPLATE = f"{QUESTION}\n{LETTER}. {CHOICE}"
"""The default template of choices."""


def _is_none(value: Any) -> bool:
    return value is None


class PixelBudget(Section):
    """Smallest and largest size of an image in a prompt. Images outside are resized and keep their aspect ratio."""

    min: int | None = Field(default=None, gt=0, le=_MOST_PIXELS, exclude_if=_is_none)
    """Smallest number of pixels. ``null`` uses that of the checkpoint."""
    max: int | None = Field(default=None, gt=0, le=_MOST_PIXELS, exclude_if=_is_none)
    """Largest number of pixels. ``null`` uses that of the checkpoint."""

    @model_validator(mode="after")
    def _min_is_below_max(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min} is above max = {self.max}")
        return self

    def completed(self, smallest: int, largest: int) -> tuple[int, int]:
        """Return smallest and largest size, of which a checkpoint's own are used where the budget leaves one open.

        A checkpoint's own size that contradicts the budget gives way: with a maximum below its smallest size, both are that maximum.
        """
        low = smallest if self.min is None else self.min
        high = max(largest, low) if self.max is None else self.max
        return min(low, high), high


class PixelBudgets(PixelBudget):
    """The pixel budget of all prompts, and those of single uses, which replace it."""

    student: PixelBudget | None = Field(default=None, exclude_if=_is_none)
    """Budget of the student's prompts in training: rollouts, updates and validation."""
    teacher: PixelBudget | None = Field(default=None, exclude_if=_is_none)
    """Budget of the teacher's prompts."""
    evaluation: PixelBudget | None = Field(default=None, exclude_if=_is_none)
    """Budget of evaluations, and of the registered model."""

    def of(self, use: PromptUse) -> PixelBudget:
        """Return the budget of a use."""
        own = getattr(self, use) or PixelBudget()
        # A use that sets only one of the two takes the other from the shared budget.
        return PixelBudget(
            min=self.min if own.min is None else own.min,
            max=self.max if own.max is None else own.max,
        )

    def only(self, *uses: PromptUse) -> PixelBudgets:
        """Return the budgets of these uses, each written out, without any other."""
        budgets = {use: budget for use in uses if (budget := self.of(use)) != PixelBudget()}
        return PixelBudgets(**budgets)

    @model_validator(mode="after")
    def _each_use_is_possible(self) -> Self:
        for use in ("student", "teacher", "evaluation"):
            budget = getattr(self, use)
            merged = {name: getattr(budget, name, None) or getattr(self, name) for name in ("min", "max")}
            if merged["min"] is not None and merged["max"] is not None and merged["min"] > merged["max"]:
                raise ValueError(f"{use}: min = {merged['min']} is above max = {merged['max']}")
        return self


def checked_system_prompt(text: str | None) -> str | None:
    """Return the system prompt, or ``None`` if it is blank.

    Raises:
        ValueError: if it is too long.
    """
    if text is not None and len(text) > _LONGEST_SYSTEM_PROMPT:
        raise ValueError(f"has {len(text)} characters; at most {_LONGEST_SYSTEM_PROMPT} are possible")
    return text if text and text.strip() else None


def checked_template(template: str) -> str:
    """Return a template of choices.

    Raises:
        ValueError: if it has no place for the question, or not exactly one line for a choice.
    """
    if len(template) > _LONGEST_TEMPLATE:
        raise ValueError(f"has {len(template)} characters; at most {_LONGEST_TEMPLATE} are possible")
    if template.count(QUESTION) != 1:
        raise ValueError(f"must contain {QUESTION} exactly once")
    of_choices = [line for line in template.split("\n") if LETTER in line or CHOICE in line]
    if len(of_choices) != 1 or of_choices[0].count(LETTER) != 1 or of_choices[0].count(CHOICE) != 1:
        raise ValueError(
            f"must contain {LETTER} and {CHOICE} exactly once, on the same line, which is repeated for each choice"
        )
    if QUESTION in of_choices[0]:
        raise ValueError(f"must have {QUESTION} on another line than {CHOICE}, which is repeated for each choice")
    unknown = set(re.findall(r"\{[a-z_]+\}", template)) - {QUESTION, LETTER, CHOICE}
    if unknown:
        raise ValueError(f"contains {min(unknown)}, but only {QUESTION}, {LETTER} and {CHOICE} are replaced")
    return template


SystemPrompt = Annotated[str | None, Field(exclude_if=_is_none), AfterValidator(checked_system_prompt)]
"""Text of a system message. Blank text is none."""
ChoicesTemplate = Annotated[
    str, Field(exclude_if=lambda template: bool(template == CHOICES_TEMPLATE)), AfterValidator(checked_template)
]
"""Question and choices in a prompt. The line with ``{letter}`` and ``{choice}`` is repeated."""
Budgets = Annotated[
    PixelBudgets,
    Field(exclude_if=lambda pixels: bool(pixels == PixelBudgets())),
    BeforeValidator(lambda pixels: {} if pixels is None else pixels),
]
"""Pixel budgets; ``null`` is those of the checkpoint."""


class PromptConfig(Section):
    """Settings of the prompts that a stage builds. Fields with their default are not part of an identity."""

    system: SystemPrompt = None
    """Text of the system message. ``null`` has no system message."""
    choices_template: ChoicesTemplate = CHOICES_TEMPLATE
    """Question and choices in a prompt. The line with ``{letter}`` and ``{choice}`` is repeated."""
    pixels: Budgets = PixelBudgets()
    """Pixel budgets."""

    def only(self, *uses: PromptUse) -> PromptConfig:
        """Return the settings of a stage that builds prompts for these uses."""
        return self.model_copy(update={"pixels": self.pixels.only(*uses)})


def is_default(prompts: PromptConfig) -> bool:
    """Return whether all settings have their default. Sections leave such prompts out of their identity."""
    return prompts == PromptConfig()
