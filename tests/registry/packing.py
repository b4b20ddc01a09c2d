"""Pack a student as a registration does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vicur.config.prompts import PromptConfig
from vicur.config.sampling import Sampling
from vicur.data.schema import Example
from vicur.registry.lineage import Lineage
from vicur.registry.package import pack
from vicur.registry.provenance import Provenance

DECODING = Sampling(temperature=0.0, max_new_tokens=6)


def packed(student: Path, folder: Path, example: Example, **settings: Any) -> Path:
    """Return the folder of the MLflow model."""
    defaults: dict[str, Any] = {"decoding": DECODING.model_dump(mode="json"), "prompts": PromptConfig()}
    defaults["provenance"] = Provenance(lineage=Lineage())
    return pack(student, folder, example=example, model_id="m-" + "0" * 32, run_id=None, **{**defaults, **settings})
