"""The base class of all configuration sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from vicur.config.schema import fields_with_choices, with_types


class Section(BaseModel):
    """A frozen, fully validated group of settings. Unknown keys are errors, so that a typo does not go unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_bare_names(cls, values: Any) -> Any:
        """Read ``objective: k1`` as ``objective: {type: k1}``."""
        # Here and not at each union, so that a new union accepts bare names too.
        if not isinstance(values, dict):
            return values
        kinds = fields_with_choices(cls)
        return {name: with_types(kinds[name], each) if name in kinds else each for name, each in values.items()}

    def identity(self) -> dict[str, Any]:
        """Return the settings that a stage's result depends on, as JSON. They are part of its cache key and identify its checkpoints."""
        return self.model_dump(mode="json")

    def inputs(self) -> dict[str, Path]:
        """Return the files and folders outside the pipeline that this section names. Their bytes count as the stage's inputs."""
        return {}

    def model_paths(self) -> dict[str, str]:
        """Return the models that the stage reads besides the pipeline's own: folders, names or addresses, by name of the input."""
        return {}
