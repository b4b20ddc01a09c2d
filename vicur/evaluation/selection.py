"""Sample a few items so that every category is represented."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import zip_longest
from typing import TypeVar

from vicur.seeds import numpy_generator

T = TypeVar("T")


def sample_evenly(
    items: Sequence[T],
    count: int,
    *,
    by: Callable[[T], str],
    apart: Callable[[T], Hashable] | None = None,
    seed: int,
    name: str,
) -> list[T]:
    """Sample up to ``count`` items, taking one from each category of ``by`` in turn.

    Args:
        by: returns the category of an item.
        apart: items with the same value are sampled together only after all other values are used up (for example
            several questions about one scene).
        seed: root seed.
        name: name of the random substream.
    """
    order = numpy_generator(seed, "selection", name).permutation(len(items))
    categories: dict[str, list[T]] = {}
    for n in order:
        categories.setdefault(by(items[n]), []).append(items[n])
    # Round-robin over the categories in alphabetical order, so that the result does not depend on the order of items
    # of other categories. Shorter categories run out first and leave None behind.
    rounds = zip_longest(*(categories[key] for key in sorted(categories)))
    turns = [item for turn in rounds for item in turn if item is not None]
    first: list[T] = []
    repeats: list[T] = []
    seen: set[Hashable] = set()
    for item in turns:
        # Without ``apart`` every item gets a key that no other item has.
        key = apart(item) if apart is not None else len(seen)
        (repeats if key in seen else first).append(item)
        seen.add(key)
    return [*first, *repeats][:count]
