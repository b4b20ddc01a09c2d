"""The questions that an evaluation answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vicur.config.evaluation import REPORT_SPLIT, EvaluationConfig
from vicur.data import read_manifest
from vicur.data.schema import Example
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.evaluation.sets import read_set

# Questions are read in their order, so the cache need not hold more than the groups of two parts, or a single larger group.
_CACHE_BYTES = 64 << 20


def read_questions(config: EvaluationConfig, inputs: Mapping[str, Path]) -> dict[str, Sequence[Example]]:
    """Return the questions by split, and by name of evaluation set. Those of splits are read when they are used.

    Raises:
        VicurError: if the dataset or a set cannot be read, or test questions are missing.
    """
    dataset = inputs["dataset"]
    available = read_manifest(dataset).examples
    if not available.get(REPORT_SPLIT):
        raise VicurError(
            f"has no examples of split {REPORT_SPLIT!r}, so there is nothing to report.",
            where=str(dataset),
            remedy=f"Give some rows the split {REPORT_SPLIT!r} and prepare the dataset again.",
        )
    # Splits that the dataset lacks are skipped: the default configuration names all of them, and a user's own dataset
    # often has no out-of-domain split.
    questions: dict[str, Sequence[Example]] = {
        split: StoredSplit(dataset, split, cache_bytes=_CACHE_BYTES) for split in config.splits if available.get(split)
    }
    questions |= {each.label: read_set(each, inputs) for each in config.held_out().sets}
    return {name: examples[: config.max_examples] for name, examples in questions.items()}
