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

from vicur.data.fingerprint import HASH_BYTES

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


def near_duplicates(fingerprints: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Assign images [N, bytes] to clusters of near-duplicates: equal numbers [N] for images of one cluster.

    Images of a cluster of more than 32 stay apart.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(fingerprints)
    pairs = [pair for pair in _similar_pairs(fingerprints) if len(pair)]
    if not pairs:
        return np.arange(count)
    edges = np.concatenate(pairs)
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    clusters: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    sizes = np.bincount(clusters)
    apart = sizes[clusters] > _LARGEST
    clusters[apart] = len(sizes) + np.flatnonzero(apart)
    return clusters


def similar_to_any(fingerprint: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which of the fingerprints [M, bytes] are near-duplicates of one [bytes]."""
    bits = np.bitwise_count(others[:, :HASH_BYTES] ^ fingerprint[:HASH_BYTES]).sum(axis=1)
    levels = np.abs(others[:, HASH_BYTES:].astype(np.int16) - fingerprint[HASH_BYTES:].astype(np.int16)).max(axis=1)
    similar: NDArray[np.bool_] = (bits <= _MAX_BITS) & (levels <= _MAX_LEVELS)
    return similar


def _similar_pairs(fingerprints: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Yield the pairs [P, 2] of near-duplicates. A pair may occur several times."""
    hashes = np.ascontiguousarray(fingerprints[:, :HASH_BYTES])
    words = np.asfortranarray(hashes.view(np.uint64))
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
                yield _verified(order[part], order[part + distance], words, fingerprints)


def _groups(hashes: NDArray[np.uint8]) -> Iterator[NDArray[np.uint16]]:
    """Yield 16 of the 256 bits of each hash, 16 times."""
    # The n-th bit of every byte pair: frequencies of all sizes, because neighbouring ones are alike.
    pairs = hashes.view(np.uint16)
    weights = (1 << np.arange(pairs.shape[1], dtype=np.uint32)).astype(np.uint32)
    for bit in range(16):
        yield ((pairs >> np.uint16(bit) & 1).astype(np.uint32) @ weights).astype(np.uint16)


def _verified(
    left: NDArray[np.int64], right: NDArray[np.int64], words: NDArray[np.uint64], fingerprints: NDArray[np.uint8]
) -> NDArray[np.int64]:
    # One word rules out nearly every pair, so the others are looked at only for the rest.
    bits = np.zeros(len(left), dtype=np.uint8)
    for word in words.T:
        bits += np.bitwise_count(word[left] ^ word[right])
        close = bits <= _MAX_BITS
        left, right, bits = left[close], right[close], bits[close]
    levels = fingerprints[left, HASH_BYTES:].astype(np.int16) - fingerprints[right, HASH_BYTES:].astype(np.int16)
    alike = np.abs(levels).max(axis=1, initial=0) <= _MAX_LEVELS
    return np.stack([left[alike], right[alike]], axis=1)
