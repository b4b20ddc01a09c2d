"""Decisions about the examples of a source that depend on all of them: repeated ids, splits that are shared out, and duplicates.

They read the facts only, as columns, and never the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vicur.config.data import SPLITS, ImportConfig
from vicur.data.hygiene import Findings, examine, link_images
from vicur.data.hygiene.dropped import DROPPED
from vicur.data.importing.stored_facts import StoredFacts
from vicur.data.splitting import NO_SPLIT, assigned

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What the rules over all examples need besides the images.
_COLUMNS = ("id", "split", "group", "question", "answer")
OUT = NO_SPLIT
"""The split of an example that is dropped."""


@dataclass(frozen=True)
class Decision:
    """What becomes of each example of a source.

    Attributes:
        splits_N: index of each example's split in ``SPLITS``, or :data:`OUT`.
        unusable: the examples that are dropped because of a fault in their row, by position: columns ``DROPPED``.
        left_out: those that could be used, but would harm the dataset, such as held-out questions among the training data.
        depends_on_seed: whether another seed gives other splits.
        units: number of groups of examples that cannot be divided between splits.
        findings: what the rules over all examples found.
    """

    splits_N: NDArray[np.int8]
    unusable: pa.Table
    left_out: pa.Table
    depends_on_seed: bool
    units: int
    findings: Findings


def decide(facts: StoredFacts, config: ImportConfig, seed: int) -> Decision:
    """Decide about all examples of a source. Columns of the facts are read when they are needed, and not kept together."""
    repeated = repeated_ids(facts.read(["id"])["id"], facts)
    rows = facts.read(_COLUMNS)
    count = rows.num_rows
    positions = np.setdiff1d(np.arange(count), repeated["position"].to_numpy(), assume_unique=True)
    with facts.images() as images:
        rows = _chosen(rows, positions)
        links = link_images(rows["group"], images.chosen(positions))
        splits, shared_out = _splits(rows, links.unit, config, seed)
        without = dropped_table(positions[splits == OUT], "split", "is missing", "Add the field to the row.")
        if without.num_rows:
            rows = rows.filter(pa.array(splits != OUT))
            positions, splits = positions[splits != OUT], splits[splits != OUT]
            links = link_images(rows["group"], images.chosen(positions))
        units = len(np.unique(links.unit))
        left_out, findings = examine(_placed(rows, positions, splits), links, config.duplicates)
    splits_N = np.full(count, OUT, dtype=np.int8)
    splits_N[positions] = splits
    splits_N[left_out["position"].to_numpy()] = OUT
    unusable = pa.concat_tables([repeated, without]).sort_by("position")
    return Decision(splits_N, unusable, left_out.sort_by("position"), shared_out, units, findings)


def _chosen(facts: pa.Table, positions: NDArray[np.int64]) -> pa.Table:
    return facts if len(positions) == facts.num_rows else facts.take(positions)


def _placed(rows: pa.Table, positions: NDArray[np.int64], splits: NDArray[np.int8]) -> pa.Table:
    """Return facts with the positions and with the splits that were decided."""
    names = pa.DictionaryArray.from_arrays(pa.array(splits), pa.array(SPLITS, pa.string()))
    rows = rows.set_column(rows.schema.get_field_index("split"), "split", names)
    return rows.append_column("position", pa.array(positions, pa.int64()))


def repeated_ids(ids: pa.ChunkedArray, facts: StoredFacts) -> pa.Table:
    """Return the examples whose id an earlier one has."""
    # Codes number the ids in the order of their first use.
    codes_N = pc.dictionary_encode(ids.combine_chunks()).indices.to_numpy()
    if not len(codes_N) or codes_N.max() + 1 == len(codes_N):
        return DROPPED.empty_table()
    _, first_use = np.unique(codes_N, return_index=True)
    positions = np.flatnonzero(first_use[codes_N] != np.arange(len(codes_N)))
    places = facts.read(["file", "row"])
    repeats = places.take(positions)
    used = places.take(first_use[codes_N[positions]])
    reasons = [
        f"{id_!r} is already the id of row {row}" + ("" if file == first_file else f" of {first_file}")
        for id_, file, first_file, row in zip(
            ids.take(positions).to_pylist(), repeats["file"].to_pylist(), used["file"].to_pylist(),
            used["row"].to_pylist(), strict=True,
        )
    ]  # fmt: skip
    return dropped_table(positions, "id", reasons, "Give each row a unique id.")


def dropped_table(positions: NDArray[np.int64], field: str, reasons: Sequence[str] | str, remedy: str) -> pa.Table:
    """Return a table of dropped examples with one field and remedy, and with a reason each or one for all."""
    count = len(positions)
    each = [reasons] * count if isinstance(reasons, str) else list(reasons)
    return pa.table([pa.array(positions, pa.int64()), [field] * count, each, [remedy] * count], schema=DROPPED)


def _splits(
    rows: pa.Table, unit_N: NDArray[np.int64], config: ImportConfig, seed: int
) -> tuple[NDArray[np.int8], bool]:
    """Return the code of each row's split, :data:`OUT` if it has none, and whether splits were shared out by unit."""
    # A unit is called by the group of its first row, so that its split stays when rows are added.
    _, first_U, of_unit_N = np.unique(unit_N, return_index=True, return_inverse=True)
    names = _Texts(rows["group"].combine_chunks(), first_U)
    named = pc.index_in(rows["split"].cast(pa.string()), pa.array(SPLITS)).fill_null(OUT)
    return assigned(named.to_numpy().astype(np.int8), of_unit_N, names, config, seed)


class _Texts(Sequence[str]):
    """Some texts of a column, each of which becomes an object when it is used."""

    def __init__(self, column: pa.Array, rows: NDArray[np.int64]) -> None:
        self._column = column
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        rows = self._rows[place]
        return _Texts(self._column, rows) if isinstance(place, slice) else str(self._column[int(rows)].as_py())
