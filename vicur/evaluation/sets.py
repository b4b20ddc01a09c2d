"""Named evaluation sets: questions that are answered and reported next to the splits of the dataset.

To add a set, write its settings as a subclass of :class:`vicur.config.evaluation.EvaluationSetConfig` with a ``type``
of its own and list it in ``SET_CONFIGS`` there; then write its reader here and list it in :data:`EVALUATION_SETS`.
``evaluation.sets`` accepts it from then on, and metrics, predictions and report show it under its name.
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
    """Reads the questions of one type of evaluation set."""

    type: str
    """The ``type`` of the settings that it reads."""

    def read(self, config: C_contra, inputs: Mapping[str, Path]) -> Sequence[Example]:
        """Return the questions, in a fixed order.

        Args:
            config: settings of the set.
            inputs: files and folders that ``config.inputs()`` names, under the same keys.
        """
        ...


EVALUATION_SETS: tuple[EvaluationSet[Any], ...] = ()
"""The reader of every type of evaluation set."""


def read_set(config: EvaluationSetConfig, inputs: Mapping[str, Path]) -> list[Example]:
    """Read the questions of the set that ``config`` describes.

    Args:
        config: settings of the set.
        inputs: the inputs of the evaluate stage.

    Raises:
        VicurError: if no reader is registered for the type, or the set has no questions.
    """
    where = f"evaluation.sets, {config.label}"
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
