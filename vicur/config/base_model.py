"""The model that students start from."""

from __future__ import annotations

from pathlib import Path

from vicur.config.base import Section

TINY = "tiny"
"""Names the base model that this package ships."""


class BaseModelConfig(Section):
    """Which model students start from."""

    path: str = TINY
    """Folder of a Qwen3-VL checkpoint with its tokenizer and image processor; ``tiny`` is the one that this package ships."""

    @property
    def folder(self) -> Path:
        """Where the model lies."""
        return Path(__file__).parents[1] / "modeling" / "tiny" / "base" if self.path == TINY else Path(self.path)
