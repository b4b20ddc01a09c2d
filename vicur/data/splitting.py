"""Splits of a source's rows: named by the source, or shared out by group with a seed.

A group (the questions about one image, unless ``metadata`` names another one) is never divided. Its place is a hash of its name and the
seed, so that it stays in its split when rows are added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from vicur.config.data import ImportConfig
from vicur.config.formats import SPLITS, Split, SplitTarget
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError
from vicur.seeds import substream
from vicur.wording import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_SPLIT = -1
"""The number of examples without a split; the others are indices into ``SPLITS``."""
LEFT_OUT = "left out"
"""The result for a split that ``data.splits`` maps to null."""

DEFAULT_SHARES: Mapping[Split, float] = {"distill": 0.8, "validation": 0.1, "test": 0.1}
"""Shares of a source that names no splits."""
SHARE_OF_DISTILL = 0.1
"""Share of the training data that becomes a required split that the source does not have."""

_KNOWN: Mapping[str, Split] = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("train", "training", "trn"), "distill"),
    **dict.fromkeys(("val", "valid", "dev", "devel", "validate"), "validation"),
    **dict.fromkeys(("testing", "testmini", "minitest", "test_mini", "test-mini"), "test"),
}
# A file or folder is only recognised by these names as a whole: "base" and "dev" are parts of many names.
_WHOLE = ("base", "dev", "ood", "devel", "trn")
_WORDS = re.compile(r"[^\W_\d]+", re.UNICODE)
_SHARD = re.compile(r"[-_.]?\d+(?:[-_]of[-_]\d+)?$")


def named_split(label: str | None, splits: Mapping[str, SplitTarget], group: str, seed: int) -> str | None:
    """Return our split for a source's name of one, :data:`LEFT_OUT`, or ``None`` if the row is to be shared out.

    Raises:
        UnusableRowError: if the name is not known.
    """
    if label is None or is_shared_out(splits):
        return None
    target: SplitTarget
    if label in splits:
        target = splits[label]
    elif (known := _KNOWN.get(label.strip().casefold())) is not None:
        target = known
    else:
        raise UnusableRowError(
            "split",
            f"{label!r} is not a split",
            f"Use one of {', '.join(SPLITS)}, or map the name: data.splits={{{label}: distill}}.",
        )
    if isinstance(target, dict):
        return share_of(group, target, seed)
    return LEFT_OUT if target is None else str(target)


def is_shared_out(splits: Mapping[str, SplitTarget]) -> bool:
    """Return whether ``data.splits`` shares out all rows, regardless of what the source calls them."""
    return any(isinstance(target, float) for target in splits.values())


def share_of(group: str, shares: Mapping[Split, float], seed: int) -> Split:
    """Return the split of a group: the same for the same seed, regardless of all other groups."""
    place = substream(seed, "data", "split", group) / (1 << 63)
    ends = zip(shares, accumulate(shares.values()), strict=True)
    # The sum may be slightly below 1.
    return next((split for split, end in ends if place < end), list(shares)[-1])


def assigned(
    named_N: NDArray[np.int8], unit_N: NDArray[np.int64], names: Sequence[str], config: ImportConfig, seed: int
) -> tuple[NDArray[np.int8], bool]:
    """Return the split of each row, and whether any was shared out. The rows are those that are usable otherwise.

    A row without a split stays so, and is unusable, if others have one. Splits are numbers in ``SPLITS``, or :data:`NO_SPLIT`.

    Args:
        named_N: split that the source names (:func:`named_split`).
        unit_N: number of the group that the row belongs to.
        names: name of each group.
    """
    present = {SPLITS[code] for code in np.unique(named_N) if code != NO_SPLIT}
    if not present:
        configured = {split: share for split, share in config.splits.items() if isinstance(share, float)}
        rows = np.ones(len(named_N), dtype=np.bool_)
        return _shared(rows, named_N, unit_N, names, configured or DEFAULT_SHARES, seed), bool(len(rows))  # type: ignore[arg-type]
    missing = [split for split in config.required_splits if split not in present]
    if "distill" not in present or not missing:
        return named_N, False
    shares = {"distill": 1 - SHARE_OF_DISTILL * len(missing), **dict.fromkeys(missing, SHARE_OF_DISTILL)}
    return _shared(named_N == SPLITS.index("distill"), named_N, unit_N, names, shares, seed), True


def _shared(
    rows: NDArray[np.bool_],
    named_N: NDArray[np.int8],
    unit_N: NDArray[np.int64],
    names: Sequence[str],
    shares: Mapping[Split, float],
    seed: int,
) -> NDArray[np.int8]:
    """Share out the rows of a mask [N] by group, and leave the others."""
    wanted = {split: share for split, share in shares.items() if share > 0}
    units = np.unique(unit_N[rows])
    shared = (SPLITS.index(share_of(names[int(unit)], wanted, seed)) for unit in units)
    split_U = np.full(len(names), NO_SPLIT, dtype=np.int8)
    split_U[units] = np.fromiter(shared, dtype=np.int8, count=len(units))
    _fill_empty(split_U, names, [SPLITS.index(split) for split in wanted], seed)
    return np.where(rows, split_U[unit_N], named_N)


def _fill_empty(split_U: NDArray[np.int8], names: Sequence[str], wanted: Sequence[int], seed: int) -> None:
    """Give each split at least one group, as long as there are enough, because a hash may miss a small share of few groups."""
    for split in wanted:
        counts = [int(np.count_nonzero(split_U == each)) for each in wanted]
        if counts[wanted.index(split)] == 0 and max(counts) > 1:
            largest = wanted[counts.index(max(counts))]
            candidates = np.flatnonzero(split_U == largest)
            split_U[min(candidates, key=lambda unit: substream(seed, "data", "split", names[int(unit)]))] = split


def file_split(name: str, splits: Mapping[str, SplitTarget]) -> str | None:
    """Return the split that a file's name or folder says (``data/train-00000-of-00003.parquet``), as the source calls it."""
    parts = name.split("/")
    parts[-1] = _SHARD.sub("", parts[-1].partition(".")[0])
    for part in reversed(parts):
        # The user's names of splits come first.
        if part in splits or part.casefold() in _KNOWN:
            return part
        words = [word for word in _WORDS.findall(part) if word.casefold() in _KNOWN and word.casefold() not in _WHOLE]
        if len({_KNOWN[word.casefold()] for word in words}) == 1:
            return str(words[0])
    return None


def require_splits(found: Mapping[str, int], required: Sequence[Split], where: str, groups: int | None = None) -> None:
    """Raise an error if the dataset lacks a split that later stages need.

    Args:
        groups: number of groups of examples that are not divided between splits, if it is known.
    """
    missing = [split for split in required if not found.get(split)]
    if not missing:
        return
    has = ", ".join(f"{split} {count:,}" for split, count in found.items()) or "no examples"
    noun = "split" if len(missing) == 1 else "splits"
    problem = f"has no examples in the {noun} {listed(missing)}, which later stages need; it has {has}"
    if groups is not None and groups < len(required):
        raise VicurError(
            f"{problem}. Its examples form {groups} {'group' if groups == 1 else 'groups'}, each of which is in one split: those with "
            "identical or nearly identical images, or with one metadata.group, belong together.",
            where=where,
            remedy=f"Add examples with other images (at least {len(required)} groups), or set data.required_splits to those that you "
            "need ([test] for an evaluation). With data.duplicates=off, only identical images belong together.",
        )
    raise VicurError(
        f"{problem}.",
        where=where,
        remedy="Add rows of these splits, share all rows out (data.splits={distill: 0.8, validation: 0.1, test: 0.1}), map the source's "
        f"names (data.splits={{NAME: {missing[0]}}}), or set data.required_splits to those that you need ([test] for an evaluation).",
    )
