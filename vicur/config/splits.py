"""The check that evaluation and cues share of the splits that they list."""

from __future__ import annotations

from collections.abc import Callable

from vicur.config.data import Split


def listing(needed: Split, reason: str) -> Callable[[tuple[Split, ...]], tuple[Split, ...]]:
    """Return a validator of a list of splits: it must include ``needed``, for that reason, and no split twice."""

    def check(splits: tuple[Split, ...]) -> tuple[Split, ...]:
        if needed not in splits:
            raise ValueError(f"must include {needed!r}, {reason}")
        if twice := next((split for split in splits if splits.count(split) > 1), None):
            raise ValueError(f"must not list {twice!r} twice")
        return splits

    return check
