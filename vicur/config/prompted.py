"""Hand the prompt settings in the section ``data`` to the stages that build prompts.

A stage's section is all that it gets, and its identity is the key of its cached result. So each of these sections has a field
``prompts``, which is set here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from vicur.config.data import PROMPT_SETTINGS
from vicur.config.prompts import PromptConfig, PromptUse
from vicur.config.section import Section

PROMPTS = "prompts"
"""Name of the field in the sections of stages."""

STAGE_USES: Mapping[str, tuple[PromptUse, ...]] = {
    "cues": ("teacher",),
    "training": ("student", "teacher"),
    "evaluation": ("evaluation",),
    "comparison": ("evaluation",),
    "registry": ("evaluation",),
}
"""Sections of stages that build or show prompts, and what these are for."""


class PromptedConfig(Section):
    """Configuration of a pipeline whose section ``data`` sets the prompts of all stages."""

    @model_validator(mode="before")
    @classmethod
    def _prompts_are_set_in_data(cls, values: Any) -> Any:
        sections = values if isinstance(values, Mapping) else {}
        for name in STAGE_USES:
            require_no_prompts(name, sections.get(name))
        data = sections.get("data")
        if isinstance(data, Mapping) and data and data.keys() <= {*PROMPT_SETTINGS}:
            # Only prompts are set, so the dataset is the default one.
            return {**values, "data": {"type": cls.model_fields["data"].default.type, **data}}
        return values

    @model_validator(mode="after")
    def _hand_prompts_down(self) -> Self:
        prompts: PromptConfig = self.data.prompts  # type: ignore[attr-defined]
        for name, uses in STAGE_USES.items():
            if name in type(self).model_fields:
                # The configuration is frozen for everybody else.
                self.__dict__[name] = getattr(self, name).model_copy(update={PROMPTS: prompts.only(*uses)})
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A configuration is stored and read again as the user may write it.
        values: dict[str, Any] = handler(self)
        for name in STAGE_USES:
            if isinstance(values.get(name), dict):
                values[name].pop(PROMPTS, None)
        return values


def require_no_prompts(section: str, settings: Any) -> None:
    """Refuse prompts that are set in the section of a stage.

    Raises:
        ValueError: if ``settings`` contain them.
    """
    if isinstance(settings, Mapping) and PROMPTS in settings:
        raise ValueError(
            f"{section}.{PROMPTS} cannot be set for one stage: write data.system_prompt, data.choices_template or data.pixels, which "
            "apply to all"
        )


def as_written(section: Section) -> Section:
    """Return a section of a configuration as the user may write it, without the prompts that were handed down to it."""
    if PROMPTS not in type(section).model_fields:
        return section
    return section.model_copy(update={PROMPTS: PromptConfig()})
