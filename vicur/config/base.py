"""The model that students start from."""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator

from vicur.config.section import Section

# Names of the models that ship with this package, and their folders below vicur/modeling/tiny.
TINY = "tiny"
TINY_TEACHER = "tiny-teacher"  # larger, and knows the students' training data
SHIPPED = {TINY: "base", TINY_TEACHER: "teacher"}


def model_folder(path: str) -> Path:
    """Return the folder of a model: of a shipped one by its name, or else the path itself."""
    if path in SHIPPED:
        return Path(__file__).parents[1] / "modeling" / "tiny" / SHIPPED[path]
    return Path(path)


class BaseModelConfig(Section):
    """The model that students start from."""

    path: str = TINY
    """Folder of a Qwen3-VL checkpoint with tokenizer and image processor, or ``tiny`` for the model that ships with this package."""

    @field_validator("path")
    @classmethod
    def _is_a_folder(cls, path: str) -> str:
        if "://" in path:
            raise ValueError(
                "is an address, but steps read base weights from a folder: stage them first (vicur models stage)"
            )
        return path

    @property
    def folder(self) -> Path:
        return model_folder(self.path)

    def inputs(self) -> dict[str, Path]:
        """Return the folder of the model."""
        return {"source": self.folder}
