"""The model that students start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from vicur.config.model_address import ClaimAddress, model_address, models_folder
from vicur.config.section import Section
from vicur.errors import VicurError

# Names of the models that ship with this package, and their folders below vicur/modeling/tiny.
TINY = "tiny"
TINY_TEACHER = "tiny-teacher"  # larger, and knows the students' training data
SHIPPED = {TINY: "base", TINY_TEACHER: "teacher"}


def model_folder(path: str) -> Path:
    """Return the folder that a model is read from: of a shipped one by its name, of one at an address where it is staged.

    Raises:
        VicurError: if the address is that of a volume, or has no revision yet (:func:`vicur.weights.pinned`).
    """
    if path in SHIPPED:
        return Path(__file__).parents[1] / "modeling" / "tiny" / SHIPPED[path]
    address = model_address(path)
    if address is None:
        return Path(path)
    if isinstance(address, ClaimAddress):
        raise VicurError(
            "is a volume of a cluster, which this machine cannot read.",
            where=path,
            remedy="Name a folder, hf://owner/name@COMMIT or s3://bucket/prefix.",
        )
    if not address.revision:
        raise VicurError(
            "does not say which content is meant.", where=path, remedy=f"Write the output of 'vicur models pin {path}'."
        )
    return models_folder() / address.folder_name


def _checked(path: str) -> str:
    model_address(path)
    return path


def _as_text(path: Any) -> Any:
    return str(path) if isinstance(path, Path) else path


ModelPath = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked)]
"""A folder, the name of a model that ships with this package, or an address (:mod:`vicur.config.model_address`)."""


class BaseModelConfig(Section):
    """The model that students start from."""

    path: ModelPath = TINY
    """A Qwen3-VL checkpoint with tokenizer and image processor: a folder, ``hf://owner/name@COMMIT``, ``s3://bucket/prefix``,
    ``pvc://CLAIM/path``, or ``tiny`` for the model that ships with this package. One at an address is staged by the run."""

    @property
    def folder(self) -> Path:
        return model_folder(self.path)

    def model_paths(self) -> dict[str, str]:
        """Return the path of the model."""
        return {"source": self.path}

    def inputs(self) -> dict[str, Path]:
        """Return the folder of the model."""
        return {"source": self.folder}
