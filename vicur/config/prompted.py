"""Hand settings of one section to the stages that need them: those of prompts in ``data``, the length of rollouts to the evaluation,
the base to the extraction of cues, and the settings of all stages before it to the registration, which records them.

A stage's section is all that it gets, and its identity is the key of its cached result. So the sections have fields for
them, which are set here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from vicur.config.data import PROMPT_SETTINGS
from vicur.config.prompts import PromptConfig, PromptUse
from vicur.config.reader import ReaderConfig
from vicur.config.section import Section
from vicur.errors import VicurError

PROMPTS, ROLLOUT_TOKENS, READER, RUN = "prompts", "rollout_tokens", "reader", "run"
"""Names of the fields in the sections of stages."""
_INSTEAD = {
    PROMPTS: "data.system_prompt, data.choices_template or data.pixels, which apply to all stages",
    ROLLOUT_TOKENS: "evaluation.decoding.max_new_tokens, or training.rollout.max_new_tokens",
    READER: "base.path, training.max_prompt_tokens or training.max_unhinted_share",
    RUN: "the sections of the stages themselves",
}

STAGE_USES: Mapping[str, tuple[PromptUse, ...]] = {
    "cues": ("teacher",),
    "training": ("student", "teacher"),
    "evaluation": ("evaluation",),
}
"""Sections of stages that build prompts, and what these are for. Later stages read them in the records of these."""
HANDED_TO = (*STAGE_USES, "registry")
"""Sections that settings of others are handed to."""


class PromptedConfig(Section):
    """Configuration of a pipeline whose section ``data`` sets the prompts of all stages."""

    @model_validator(mode="before")
    @classmethod
    def _are_set_in_their_sections(cls, values: Any) -> Any:
        sections = values if isinstance(values, Mapping) else {}
        for name in HANDED_TO:
            require_not_handed_down(name, sections.get(name))
        data = sections.get("data")
        if isinstance(data, Mapping) and data and data.keys() <= {*PROMPT_SETTINGS}:
            # Only prompts are set, so the dataset is the default one.
            return {**values, "data": {"type": cls.model_fields["data"].default.type, **data}}
        return values

    @model_validator(mode="after")
    def _hand_down(self) -> Self:
        prompts: PromptConfig = self.data.prompts  # type: ignore[attr-defined]
        for name, uses in STAGE_USES.items():
            if name in type(self).model_fields:
                # The configuration is frozen for everybody else.
                changed: dict[str, Any] = {PROMPTS: prompts.only(*uses)}
                if name == "evaluation":
                    changed[ROLLOUT_TOKENS] = self.training.rollout.max_new_tokens  # type: ignore[attr-defined]
                if name == "cues":
                    changed[READER] = self._reader(prompts)
                self.__dict__[name] = getattr(self, name).model_copy(update=changed)
        return self

    def _reader(self, prompts: PromptConfig) -> ReaderConfig | None:
        """Return the model that will read the cues, or ``None`` if the settings of a method are wrong, which is reported elsewhere."""
        training = self.training  # type: ignore[attr-defined]
        try:
            privileges = {cell.training.effective.privilege for cell in self.cells()}  # type: ignore[attr-defined]
        except (ValueError, VicurError, LookupError, StopIteration):
            # Inconsistent arms of an ablation are reported by its own validator, which comes later.
            return None
        return ReaderConfig(
            path=self.base.path,  # type: ignore[attr-defined]
            prompts=prompts.only("student", "teacher"),
            privileges=tuple(sorted(privileges)),
            annotated=self.cues.provider.type == "annotation",  # type: ignore[attr-defined]
            max_prompt_tokens=training.max_prompt_tokens,
            max_share=training.max_unhinted_share,
        )

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A configuration is stored and read again as the user may write it.
        values: dict[str, Any] = handler(self)
        for name in HANDED_TO:
            if isinstance(values.get(name), dict):
                for field in _INSTEAD:
                    values[name].pop(field, None)
        return values


def require_not_handed_down(section: str, settings: Any) -> None:
    """Refuse settings in the section of a stage that belong to another section.

    Raises:
        ValueError: if ``settings`` contain one.
    """
    for field, instead in _INSTEAD.items():
        if isinstance(settings, Mapping) and field in settings:
            raise ValueError(f"{section}.{field} cannot be set: write {instead}")


def as_written(section: Section) -> Section:
    """Return a section of a configuration as the user may write it, without what was handed down to it."""
    fields = type(section).model_fields
    defaults = {name: fields[name].get_default(call_default_factory=True) for name in _INSTEAD if name in fields}
    return section.model_copy(update=defaults)
