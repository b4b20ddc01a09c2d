"""The model that students start from."""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator

from vicur.config.section import Section

TINY = "tiny"
"""Names the base model that this package ships."""
TINY_TEACHER = "tiny-teacher"
"""Names the larger tiny model that this package ships, to teach the tiny base."""
SHIPPED = {TINY: "base", TINY_TEACHER: "teacher"}
"""Folder of each below ``vicur/modeling/tiny``."""


def model_folder(path: str) -> Path:
    """Where a model lies that a configuration names: one that this package ships, else the folder of that name."""
    if path in SHIPPED:
        return Path(__file__).parents[1] / "modeling" / "tiny" / SHIPPED[path]
    return Path(path)


class BaseModelConfig(Section):
    """Which model students start from."""

    path: str = TINY
    """Folder of a Qwen3-VL checkpoint with its tokenizer and image processor; ``tiny`` is the one that this package ships."""

    @field_validator("path")
    @classmethod
    def _is_no_address(cls, path: str) -> str:
        if "://" in path:
            raise ValueError(
                "is an address, and steps read base weights from a folder: stage them (vicur models stage)"
            )
        return path

    @property
    def folder(self) -> Path:
        """Where the model lies."""
        return model_folder(self.path)

    def inputs(self) -> dict[str, Path]:
        """Return the folder of the model."""
        return {"source": self.folder}
