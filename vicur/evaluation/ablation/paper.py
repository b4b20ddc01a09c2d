"""Figures of the paper (arXiv 2606.05718v1), for arms that correspond to rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "[arXiv 2606.05718v1](https://arxiv.org/abs/2606.05718)"
SIZES = ("2B", "8B")
LEAKAGE = (
    "The paper reports for 2B students in the fifth epoch (55 steps of 128 rollouts): 4054 rollouts and 38151 occurrences for OPSD, 3264 "
    "and 25861 for OPSD with cue and module, fewer than 75 rollouts for OPD."
)


@dataclass(frozen=True)
class PaperTable:
    """A benchmark of the paper: accuracies in percent of Qwen3-VL 2B and 8B."""

    name: str
    rows: dict[str, tuple[float, float]]
    """By method, or ``base``."""


TABLES = (
    PaperTable(
        "Geometry3K",
        {
            "opsd": (34.14, 52.40),
            "opsd-cue": (36.94, 56.76),
            "opsd-recovery": (35.31, 52.49),
            "vicur": (38.94, 57.05),
        },
    ),
    PaperTable(
        "Vision-R1 test",
        {
            "base": (23.90, 41.22),
            "grpo": (28.17, 58.75),
            "opsd": (25.00, 42.20),
            "vicur": (26.58, 45.00),
            "opd": (26.34, 51.09),
            "opd-vicur": (26.83, 52.07),
        },
    ),
    PaperTable(
        "mean of seven benchmarks",
        {
            "base": (45.42, 60.76),
            "grpo": (48.51, 65.35),
            "opsd": (44.88, 58.15),
            "vicur": (46.07, 59.39),
            "opd": (46.93, 63.88),
            "opd-vicur": (47.57, 64.96),
        },
    ),
)


def paper_differences(first: str | None, second: str | None) -> list[tuple[str, tuple[float, float]]]:
    """Return the difference of row ``first`` to row ``second`` in points, at 2B and 8B, for each table that has both."""
    differences = []
    for table in TABLES:
        if first in table.rows and second in table.rows:
            a, b = table.rows[first], table.rows[second]
            # The paper gives two decimals; rounding removes the noise of binary fractions.
            differences.append((table.name, (round(a[0] - b[0], 2), round(a[1] - b[1], 2))))
    return differences
