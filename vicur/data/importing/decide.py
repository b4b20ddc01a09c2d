"""Decisions about the examples of a source that depend on all of them: repeated ids, and splits that are shared out.

They read the facts only, as columns, and never the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vicur.config.data import SPLITS, ImportConfig
from vicur.data.importing.facts import DROPPED
from vicur.data.splitting import assigned

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUT = -1
"""Stands for the split of an example that is dropped."""


@dataclass(frozen=True)
class Decision:
    """What becomes of each example of a source.

    Attributes:
        splits_N: index of each example's split in ``SPLITS``, or :data:`OUT`.
        dropped: the examples that are dropped, by position, with the reason: columns ``DROPPED``.
        depends_on_seed: whether another seed gives other splits.
    """

    splits_N: NDArray[np.int8]
    dropped: pa.Table
    depends_on_seed: bool


def decide(facts: pa.Table, config: ImportConfig, seed: int) -> Decision:
    """Decide about all examples of a source, given their facts in the order of the source."""
    repeated = repeated_ids(facts)
    usable = np.ones(facts.num_rows, dtype=bool)
    usable[repeated["position"].to_numpy()] = False
    splits_N, shared_out = _splits(facts, usable, config, seed)
    without = np.flatnonzero(usable & (splits_N == OUT))
    missing = dropped_table(without, "split", ["is missing"] * len(without), "Add the field to the row.")
    return Decision(splits_N, pa.concat_tables([repeated, missing]).sort_by("position"), shared_out)


def repeated_ids(facts: pa.Table) -> pa.Table:
    """Return the examples whose id an earlier one has."""
    # Codes number the ids in the order of their first use.
    codes_N = pc.dictionary_encode(facts["id"].combine_chunks()).indices.to_numpy()
    _, first_use = np.unique(codes_N, return_index=True)
    positions = np.flatnonzero(first_use[codes_N] != np.arange(len(codes_N)))
    repeats = facts.select(["id", "file"]).take(positions)
    used = facts.select(["file", "row"]).take(first_use[codes_N[positions]])
    reasons = [
        f"{id_!r} is already the id of row {row}" + ("" if file == first_file else f" of {first_file}")
        for id_, file, first_file, row in zip(
            repeats["id"].to_pylist(), repeats["file"].to_pylist(), used["file"].to_pylist(), used["row"].to_pylist(),
            strict=True,
        )
    ]  # fmt: skip
    return dropped_table(positions, "id", reasons, "Give each row a unique id.")


def dropped_table(positions: NDArray[np.int64], field: str, reasons: Sequence[str], remedy: str) -> pa.Table:
    """Return a table of dropped examples with one field and remedy."""
    count = len(positions)
    columns = [pa.array(positions, pa.int64()), [field] * count, list(reasons), [remedy] * count]
    return pa.table(columns, schema=DROPPED)


def _splits(
    facts: pa.Table, usable_N: NDArray[np.bool_], config: ImportConfig, seed: int
) -> tuple[NDArray[np.int8], bool]:
    """Return the code of each usable example's split, :data:`OUT` if it has none, and whether splits were shared out."""
    rows = facts.select(["split", "group"]).filter(pa.array(usable_N))
    splits, shared_out = assigned(rows["split"].to_pylist(), rows["group"].to_pylist(), config, seed)
    codes: dict[str | None, int] = {split: code for code, split in enumerate(SPLITS)}
    splits_N = np.full(facts.num_rows, OUT, dtype=np.int8)
    splits_N[usable_N] = np.fromiter((codes.get(split, OUT) for split in splits), dtype=np.int8, count=len(splits))
    return splits_N, shared_out
