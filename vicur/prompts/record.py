"""The prompts that a student was trained with, from the record of its training."""

from __future__ import annotations

import json
from pathlib import Path

from vicur.config.prompts import PromptConfig

_RECORD = "vicur.json"


def prompts_of(folder: Path) -> PromptConfig:
    """Return system message and template of choices of the student in a folder. A base model has the default ones."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        settings = record["training"]["prompts"]
        return PromptConfig.model_validate(
            {name: settings[name] for name in ("system", "choices_template") if name in settings}
        )
    # Bases have no record, and students with default prompts have no entry.
    except (OSError, ValueError, KeyError, TypeError):
        return PromptConfig()
