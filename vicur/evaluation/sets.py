"""Named evaluation sets: questions that are answered and reported next to the splits of the dataset.

To add a set, write its settings as a subclass of :class:`vicur.config.evaluation.EvaluationSetConfig` and list it in
``SET_CONFIGS`` there; then write its reader and list it in :data:`EVALUATION_SETS` below. Both have the same ``type``.
``evaluation.sets`` then accepts the set, and metrics, predictions and report show it under its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vicur.config.evaluation import EvaluationSetConfig
from vicur.data.schema import Example
from vicur.errors import VicurError

C_contra = TypeVar("C_contra", bound=EvaluationSetConfig, contravariant=True)


class EvaluationSet(Protocol[C_contra]):
    """Reader of one type of evaluation set."""

    type: str

    def read(self, config: C_contra, inputs: Mapping[str, Path]) -> Sequence[Example]:
        """Return the questions, in a fixed order. ``inputs`` are the files and folders of ``config.inputs()``."""
        ...


EVALUATION_SETS: tuple[EvaluationSet[Any], ...] = ()


def read_set(config: EvaluationSetConfig, inputs: Mapping[str, Path]) -> list[Example]:
    """Read the questions of a set from the inputs of the evaluate stage.

    Raises:
        VicurError: if no reader is registered for the type, or the set has no questions.
    """
    where = f"evaluation.sets, {config.label}"
    # Settings and readers are registered separately: a type may have only the former.
    reader = next((each for each in EVALUATION_SETS if each.type == config.type), None)
    if reader is None:
        known = ", ".join(each.type for each in EVALUATION_SETS) or "none"
        raise VicurError(
            f"no reader is registered for evaluation sets of type {config.type!r} (registered: {known}).",
            where=where,
            remedy="Add one to EVALUATION_SETS in vicur/evaluation/sets.py, or remove the set from evaluation.sets.",
        )
    # The stage prefixes inputs with the name of their set, so that two sets may use the same key.
    prefix = f"{config.label}/"
    own = {key.removeprefix(prefix): path for key, path in inputs.items() if key.startswith(prefix)}
    examples = list(reader.read(config, own))
    if not examples:
        raise VicurError("the evaluation set has no questions.", where=where, remedy="Remove it from evaluation.sets.")
    return examples
