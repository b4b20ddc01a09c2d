"""Wording that messages, tables and reports share: lists, differences, percentages and intervals."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def listed(items: Iterable[object], shown: int = 5, separator: str = ", ") -> str:
    """Join items, the first ``shown`` of them by name: ``a, b, c and 3 more``."""
    texts = [str(item) for item in items]
    rest = len(texts) - shown
    joined = separator.join(texts[:shown])
    return f"{joined} and {rest} more" if rest > 0 else joined


def differences(
    first: Mapping[str, Any], second: Mapping[str, Any], form: str = "{key}: {first} there, {second} here"
) -> list[str]:
    """Describe each key whose value differs between two flat mappings, in alphabetical order. A missing key reads ``absent``."""
    return [
        form.format(key=key, first=first.get(key, "absent"), second=second.get(key, "absent"))
        for key in sorted(first.keys() | second.keys())
        if first.get(key, "absent") != second.get(key, "absent")
    ]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name that is most similar to ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def percent(share: float) -> str:
    """Write a share as a percentage with one decimal: ``73.9 %``."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points, with its sign: ``+8.0``, ``−2.0``."""
    # Two decimals if one would round a difference to zero.
    digits = 2 if difference and abs(difference) < 0.0005 else 1
    return f"{100 * difference:+.{digits}f}".replace("-", "−")


def interval(low: float, high: float, confidence: float) -> str:
    """Write a confidence interval in percentage points: ``95 % interval +5.2 to +10.8``."""
    return f"{100 * confidence:g} % interval {points(low)} to {points(high)}"


def estimate(mean: float, low: float, high: float, detectable: float | None = None) -> str:
    """Write a difference with its interval in percentage points, for tables: ``+8.0 [+5.2, +10.8]``.

    A tie, an interval that includes zero, comes with what the questions would detect: ``−2.0 [−5.0, +1.0], tie (detects 4.2)``.
    """
    text = f"{points(mean)} [{points(low)}, {points(high)}]"
    is_tie = low <= 0 <= high and detectable is not None
    return f"{text}, tie (detects {100 * (detectable or 0):.1f})" if is_tie else text


def mean_and_std(mean: float, std: float) -> str:
    """Write the mean of shares with its standard deviation, in percent: ``72.8 ± 2.8``."""
    return f"{100 * mean:.1f} ± {100 * std:.1f}"
