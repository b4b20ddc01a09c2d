"""Chooses a few of many, so that each sort is among them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest
from typing import TypeVar

from vicur.seeds import numpy_generator

T = TypeVar("T")


def spread(
    items: Sequence[T],
    count: int,
    *,
    by: Callable[[T], str],
    apart: Callable[[T], Hashable] | None = None,
    seed: int,
    name: str,
) -> list[T]:
    """Draws ``count`` items, taking turns between the sorts of ``by``.

    Args:
        items: what to choose from.
        count: how many, at most.
        by: the sort of an item.
        apart: items that agree in it are taken together only when there is nothing else left (questions of one scene).
        seed: root seed.
        name: substream of the draw.

    Returns:
        The items in the order in which they were drawn.
    """
    order = numpy_generator(seed, "selection", name).permutation(len(items))
    sorts: dict[str, list[T]] = {}
    for n in order:
        sorts.setdefault(by(items[n]), []).append(items[n])
    turns = [item for turn in zip_longest(*(sorts[key] for key in sorted(sorts))) for item in turn if item is not None]
    first: list[T] = []
    again: list[T] = []
    seen: set[Hashable] = set()
    for item in turns:
        key = apart(item) if apart is not None else len(seen)
        (again if key in seen else first).append(item)
        seen.add(key)
    return [*first, *again][:count]
