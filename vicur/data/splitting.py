"""Splits of a source's rows: named by the source, or shared out by group with a seed.

A group (the questions about one image, unless ``metadata`` names another one) is never divided. Its place is a hash of its name and the
seed, so that it stays in its split when rows are added.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

from vicur.config.data import ImportConfig
from vicur.config.formats import SPLITS, Split, SplitTarget
from vicur.data.schema import UnusableRowError
from vicur.errors import VicurError
from vicur.seeds import substream
from vicur.wording import listed

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
    named: Sequence[str | None], groups: Sequence[str], config: ImportConfig, seed: int
) -> tuple[list[str | None], bool]:
    """Return the split of each row, given the splits that the source names (:func:`named_split`), and whether any was shared out.

    A row without a split gets ``None``, and is unusable, if others have one. The rows are those that are usable otherwise.
    """
    present = {split for split in named if split is not None}
    if not present:
        configured = {split: share for split, share in config.splits.items() if isinstance(share, float)}
        shares = configured or DEFAULT_SHARES
        return _shared(range(len(named)), list(named), groups, shares, seed), bool(named)  # type: ignore[arg-type]
    missing = [split for split in config.required_splits if split not in present]
    result = list(named)
    if "distill" not in present or not missing:
        return result, False
    shares = {"distill": 1 - SHARE_OF_DISTILL * len(missing), **dict.fromkeys(missing, SHARE_OF_DISTILL)}
    return _shared([n for n, split in enumerate(named) if split == "distill"], result, groups, shares, seed), True


def _shared(
    rows: Collection[int], splits: list[str | None], groups: Sequence[str], shares: Mapping[Split, float], seed: int
) -> list[str | None]:
    wanted = {split: share for split, share in shares.items() if share > 0}
    of_group = {group: share_of(group, wanted, seed) for group in {groups[row] for row in rows}}
    _fill_empty(of_group, wanted, seed)
    for row in rows:
        splits[row] = of_group[groups[row]]
    return splits


def _fill_empty(of_group: dict[str, Split], shares: Mapping[Split, float], seed: int) -> None:
    """Give each split at least one group, as long as there are enough, because a hash may miss a small share of few groups."""
    for split in shares:
        counts = Counter(of_group.values())
        largest, size = counts.most_common(1)[0] if counts else (split, 0)
        if counts[split] == 0 and size > 1:
            candidates = (group for group, each in of_group.items() if each == largest)
            of_group[min(candidates, key=lambda group: substream(seed, "data", "split", group))] = split


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


def require_splits(found: Mapping[str, int], required: Sequence[Split], where: str) -> None:
    """Raise an error if the dataset lacks a split that later stages need."""
    missing = [split for split in required if not found.get(split)]
    if not missing:
        return
    has = ", ".join(f"{split} {count:,}" for split, count in found.items()) or "no examples"
    raise VicurError(
        f"has no examples in the {'split' if len(missing) == 1 else 'splits'} {listed(missing)}, which later stages need; it has {has}.",
        where=where,
        remedy="Add rows of these splits, share all rows out (data.splits={distill: 0.8, validation: 0.1, test: 0.1}), map the source's "
        f"names (data.splits={{NAME: {missing[0]}}}), or set data.required_splits to those that you need ([test] for an evaluation).",
    )
