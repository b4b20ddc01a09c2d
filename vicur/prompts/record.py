"""The prompts that a student was trained with, from the record of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vicur.config.prompts import PromptConfig

RECORD = "vicur.json"
"""File of a student's folder with the record of its training."""


def prompts_of(folder: Path) -> PromptConfig:
    """Return system message and template of choices of the student in a folder. A base model has the default ones."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        settings = record["training"]["prompts"]
        return PromptConfig.model_validate(
            {name: settings[name] for name in ("system", "choices_template") if name in settings}
        )
    # Bases have no record, and students with default prompts have no entry.
    except (OSError, ValueError, KeyError, TypeError):
        return PromptConfig()


def with_system_message(messages: Sequence[Mapping[str, Any]], system: str | None) -> list[Mapping[str, Any]]:
    """Return chat messages that begin with a system message: their own, or else ``system``."""
    if system is None or (messages and messages[0].get("role") == "system"):
        return [*messages]
    return [{"role": "system", "content": system}, *messages]
