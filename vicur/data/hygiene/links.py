"""Which examples show the same image, in columns over the facts of all examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vicur.data.fingerprint import FINGERPRINT_BYTES
from vicur.data.hygiene.similar import near_duplicates

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGEST = 32  # bytes of a SHA-256


@dataclass(frozen=True, eq=False)
class Links:
    """Images of N examples with I images in total, and the examples that share one."""

    unit: NDArray[np.int64]  # [N]; equal for examples of one group, or that have an identical or nearly identical image
    first: NDArray[np.int64]  # [N + 1]; the images of example n are first[n] to first[n + 1]
    exact: NDArray[np.int64]  # [I]; equal for identical images
    near: NDArray[np.int64]  # [I]; equal for near-duplicates, too
    source: NDArray[np.int64]  # [distinct images]; one of all identical images, by the number in exact
    fingerprints: NDArray[np.uint8] | None  # [distinct images, bytes]

    @property
    def distinct(self) -> int:
        """Number of distinct images."""
        return len(self.source)

    @property
    def near_copies(self) -> int:
        """Number of distinct images that are near-duplicates of another one."""
        if not self.distinct:
            return 0
        _, sizes = np.unique(self.near[self.source], return_counts=True)
        return int(sizes[sizes > 1].sum())


def link_images(facts: pa.Table) -> Links:
    """Link the examples of a table of facts by their images and groups."""
    images = facts["images"].combine_chunks() if facts["images"].num_chunks != 1 else facts["images"].chunk(0)
    first = images.offsets.to_numpy().astype(np.int64)
    rows = images.flatten()
    first = first - first[0]
    source, exact = _distinct(rows.field("sha256"))
    fingerprints = _fingerprints(rows.field("fingerprint"), source)
    near = exact if fingerprints is None else near_duplicates(fingerprints)[exact]
    return Links(_units(facts["group"], first, near), first, exact, near, source, fingerprints)


def row_keys(links: Links, images: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a hash [N] of the images of each example, in their order, given their numbers [I]. Without images, it is 0."""
    counts = np.diff(links.first)
    place = np.arange(len(images)) - np.repeat(links.first[:-1], counts)
    mixed = mix(images.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + place.astype(np.uint64) + np.uint64(1))
    totals = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    # The difference of two cumulative sums is exact: unsigned integers wrap around.
    keys: NDArray[np.uint64] = totals[links.first[1:]] - totals[links.first[:-1]]
    return keys


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble the bits of integers one to one (the finalizer of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def fixed_bytes(column: pa.Array, size: int) -> NDArray[np.uint8]:
    """Return a column of fixed-size bytes without nulls as an array [N, size] that shares its memory."""
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return data[column.offset * size : (column.offset + len(column)) * size].reshape(-1, size)


def _distinct(digests: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not len(digests):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # Two words of a SHA-256 tell any number of images apart, and take a quarter of the time to sort.
    words = np.ascontiguousarray(fixed_bytes(digests, _DIGEST)[:, :16]).view([("a", np.uint64), ("b", np.uint64)])
    _, source, exact = np.unique(words.ravel(), return_index=True, return_inverse=True)
    return source.astype(np.int64), exact.astype(np.int64)


def _fingerprints(column: pa.Array, source: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    if column.null_count or not len(column):
        return None
    return fixed_bytes(column, FINGERPRINT_BYTES)[source]


def _units(groups: pa.ChunkedArray, first: NDArray[np.int64], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected components of examples, through their groups and their images."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(first) - 1
    if not rows:
        return np.zeros(0, dtype=np.int64)
    codes = pc.dictionary_encode(groups.combine_chunks()).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    # Nodes are the examples, then their groups, then the clusters of images.
    of_groups = rows + codes
    of_images = rows + int(codes.max()) + 1 + near
    left = np.concatenate([np.arange(rows), np.repeat(np.arange(rows), np.diff(first))])
    right = np.concatenate([of_groups, of_images])
    nodes = int(right.max()) + 1
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(nodes, nodes))
    units: NDArray[np.int64] = connected_components(graph, directed=False)[1][:rows].astype(np.int64)
    return units
