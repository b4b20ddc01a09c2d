"""The model that will read the dataset and its cues, for checks before cues are paid for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vicur.config.base import ModelPath
from vicur.config.prompts import PromptConfig
from vicur.config.section import Section


class ReaderConfig(Section):
    """The base of the students, and the prompts that it is trained with. Results do not depend on it."""

    path: ModelPath
    """``base.path``."""
    prompts: PromptConfig = PromptConfig()
    """Prompts of student and teacher."""
    privileges: tuple[Literal["answer", "rationale", "cue", "none"], ...] = ()
    """Hints of the teachers."""
    annotated: bool = False
    """Whether the dataset's own cues are the hints."""
    max_prompt_tokens: int = Field(default=256, ge=1)
    """``training.max_prompt_tokens``."""
    max_share: float = Field(default=0.02, ge=0, le=1)
    """``training.max_unhinted_share``."""
