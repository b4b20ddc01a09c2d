"""What every configuration section has in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen, fully validated group of settings; an unknown key is an error, not a typo that goes unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """The settings that a stage's result depends on, as JSON: its cache and its checkpoints know it by them."""
        return self.model_dump(mode="json")

    def inputs(self) -> dict[str, Path]:
        """Return the files and folders outside the pipeline that this section names. Their bytes count as the stage's inputs."""
        return {}
