"""What an example is, and what a dataset folder says about itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1


class Example(BaseModel):
    """One question about images. The same for every dataset; what is special to one goes into ``metadata``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    id: str
    """Unique in the dataset."""
    images: tuple[bytes, ...]
    """Encoded files (PNG or JPEG), in the order in which the prompt shows them. May be empty."""
    question: str
    choices: tuple[str, ...] = ()
    """What a multiple-choice question offers, in the order A, B, C, ...; empty for an open question."""
    answer: str
    """The final answer that a response is checked against."""
    rationale: str | None = None
    """How the answer follows."""
    cue: str | None = None
    """What is to be seen in the image that the question asks for."""
    source: str
    """Where the example comes from."""
    split: str
    """One of ``vicur.config.data.SPLITS``."""
    metadata: dict[str, Any] = {}
    """JSON values. Known keys: ``group``, ``kind``, ``reference`` (a whole right response), ``evidence``, ``scene``."""

    @property
    def group(self) -> str:
        """The unit to resample: examples of one group (questions about one scene) are not independent."""
        return str(self.metadata.get("group", self.id))

    @property
    def kind(self) -> str:
        """The kind of question, by which results are broken down."""
        return str(self.metadata.get("kind", "all"))
