"""Find near-duplicates among many images by their fingerprints, in bounded time and memory.

Two images are near-duplicates if their hashes differ in at most 15 of 256 bits and their thumbnails nowhere by more than 6 levels.
Measured (``tests/data/hygiene/test_similar.py`` repeats it on fewer images): no false pair among 500 digit scenes, 103 photos and 150
drawings, nor between 500 scenes and copies with one digit changed, whose thumbnails differ by 8 levels or more. Found are 99 to 100 % of
the copies that were saved as JPEG with quality 75 or more, or scaled to half or twice their size; copies that were made brighter or cropped
by more than 1 % are not. Drawings that differ in a single small label are near-duplicates by this measure: only their answers tell them
apart.

Hashes that differ in at most 15 bits agree in at least one of 16 groups of 16 bits, so only images that share a group are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vicur.data.hygiene.prints import Prints

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_BITS = 15
_MAX_LEVELS = 6
# Neighbours that an image is compared with in a group of bits. Among a million images, a group has about 15 members; only in a dataset of
# very similar images does it have many more, and then the nearest in the order of the whole hash are compared.
_NEIGHBOURS = 48
# Images in a cluster above which its members are different drawings of one kind, not copies.
_LARGEST = 32
_PAIRS = 1 << 16  # compared at a time
_EDGES = 1 << 18  # pairs of near-duplicates in memory, before they are merged into the clusters


def near_duplicates(prints: Prints) -> NDArray[np.int64]:
    """Assign N images to clusters of near-duplicates: equal numbers [N] for images of one cluster.

    Images of a cluster of more than 32 stay apart.
    """
    clusters = _clusters(prints)
    sizes = np.bincount(clusters)
    apart = sizes[clusters] > _LARGEST
    clusters[apart] = len(sizes) + np.flatnonzero(apart)
    return clusters


def alike(prints: Prints, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs of images are near-duplicates."""
    bits = np.bitwise_count(prints.hashes[left] ^ prints.hashes[right]).sum(axis=1)
    result: NDArray[np.bool_] = (bits <= _MAX_BITS) & _levels_agree(prints, left, right)
    return result


def _clusters(prints: Prints) -> NDArray[np.int64]:
    """Return the connected components of the pairs of near-duplicates."""
    clusters = np.arange(len(prints))
    edges: list[NDArray[np.int64]] = []
    waiting = 0
    words = np.asfortranarray(prints.hashes.view(np.uint64))
    for left, right in _candidates(prints.hashes, words):
        # A pair of one cluster would add nothing. Among very similar images, these are nearly all.
        apart = clusters[left] != clusters[right]
        pairs = _verified(left[apart], right[apart], words, prints)
        if not len(pairs):
            continue
        edges.append(clusters[pairs])
        waiting += len(pairs)
        if waiting > _EDGES:
            clusters, edges, waiting = _joined(clusters, edges), [], 0
    return _joined(clusters, edges)


def _joined(clusters: NDArray[np.int64], edges: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not edges:
        return clusters
    pairs = np.concatenate(edges)
    count = len(clusters)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    joined: NDArray[np.int64] = connected_components(graph, directed=False)[1][clusters].astype(np.int64)
    return joined


def _candidates(
    hashes: NDArray[np.uint8], words: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of images that share a group of bits, some at a time. A pair may occur several times."""
    for key in _groups(hashes):
        order = np.lexsort((words[:, 1], words[:, 0], key))
        key = key[order]
        first = np.arange(len(order))
        for distance in range(1, _NEIGHBOURS + 1):
            first = first[first + distance < len(order)]
            first = first[key[first] == key[first + distance]]
            if not len(first):
                break
            for start in range(0, len(first), _PAIRS):
                part = first[start : start + _PAIRS]
                yield order[part], order[part + distance]


def _groups(hashes: NDArray[np.uint8]) -> Iterator[NDArray[np.uint16]]:
    """Yield 16 of the 256 bits of each hash, 16 times."""
    # The n-th bit of every byte pair: frequencies of all sizes, because neighbouring ones are alike.
    pairs = hashes.view(np.uint16)
    for bit in range(16):
        key = np.zeros(len(pairs), dtype=np.uint16)
        for place in range(pairs.shape[1]):
            key |= (pairs[:, place] >> np.uint16(bit) & np.uint16(1)) << np.uint16(place)
        yield key


def _verified(
    left: NDArray[np.int64], right: NDArray[np.int64], words: NDArray[np.uint64], prints: Prints
) -> NDArray[np.int64]:
    """Return the pairs [P, 2] that are near-duplicates."""
    # One word rules out nearly every pair, so the others are looked at only for the rest.
    bits = np.zeros(len(left), dtype=np.uint8)
    for word in words.T:
        bits += np.bitwise_count(word[left] ^ word[right])
        close = bits <= _MAX_BITS
        left, right, bits = left[close], right[close], bits[close]
    similar = _levels_agree(prints, left, right)
    return np.stack([left[similar], right[similar]], axis=1)


def _levels_agree(prints: Prints, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    levels = np.abs(prints.levels(left) - prints.levels(right)).max(axis=1, initial=0)
    agree: NDArray[np.bool_] = levels <= _MAX_LEVELS
    return agree
