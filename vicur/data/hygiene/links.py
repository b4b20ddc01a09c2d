"""Which examples show the same image, in columns over the facts of all examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vicur.data.hygiene.columns import ImageColumns
from vicur.data.hygiene.prints import Prints
from vicur.data.hygiene.similar import near_duplicates

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Links:
    """Images of N examples with I images in total, and the examples that share one."""

    unit: NDArray[np.int64]  # [N]; equal for examples of one group, or that have an identical or nearly identical image
    first: NDArray[np.int64]  # [N + 1]; the images of example n are first[n] to first[n + 1]
    exact: NDArray[np.int64]  # [I]; equal for identical images
    near: NDArray[np.int64]  # [I]; equal for near-duplicates, too
    source: NDArray[np.int64]  # [distinct images]; one of all identical images, by the number in exact
    prints: Prints | None  # of the distinct images

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


def link_images(groups: pa.ChunkedArray, images: ImageColumns) -> Links:
    """Link examples by their groups and images."""
    source, exact = _distinct(images.digests)
    prints = None if images.prints is None else images.prints.take(source)
    near = exact if prints is None else near_duplicates(prints)[exact]
    return Links(_units(groups, images.first, near), images.first, exact, near, source, prints)


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


def _distinct(digests: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first of all identical images, in the order of their digests, and the number of each image in that order."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
    exact = np.empty(len(order), dtype=np.int64)
    exact[order] = np.cumsum(is_new) - 1
    return order[is_new], exact


def _units(groups: pa.ChunkedArray, first: NDArray[np.int64], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected components of examples, through their groups and their images."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(first) == 1:
        return np.zeros(0, dtype=np.int64)
    code_N = pc.dictionary_encode(groups.combine_chunks()).indices.to_numpy(zero_copy_only=False).astype(np.int32)
    # Nodes are the groups, then the clusters of images: examples of one group are connected by it. With 32 bits, nothing is copied.
    start = int(code_N.max()) + 1
    left = np.repeat(code_N, np.diff(first))
    right = near.astype(np.int32) + np.int32(start)
    nodes = int(right.max(initial=start - 1)) + 1
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(nodes, nodes))
    units: NDArray[np.int64] = connected_components(graph, directed=False)[1][code_N].astype(np.int64)
    return units
