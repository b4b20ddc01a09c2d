"""How time and memory of a training step grow with its size.

    python -m benchmarks.cost_curves [--only prompt response vocabulary batch images] [--json FILE]

Starts from one step of the tiny model (hidden size 96, 4,096 entries of vocabulary, 8 prompts with an image and 16 words added, 16 new
tokens) and enlarges one quantity at a time. Each measurement is a process with one CPU thread in float32, in an epoch after the first, with
``opd`` and reverse KL. ``seconds`` is processor time, ``extra_mb`` the peak above what is loaded: interpreter, weights, gradients and the
optimizer's state. The last row of a quantity has the exponents of power laws fitted to its rows (least squares of logarithms): 1 means
proportional, 0 independent, and less than 1 also that a part does not depend on it.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.reporting import report
from benchmarks.steps.case import Case, save_checkpoint
from benchmarks.steps.measured import measured

_HIDDEN = 96
_VOCABULARY = 4_096
_BASE = Case(folder="", hint=False, batch_size=8, new_tokens=16, steps=5, warm_up=2, words=16)
# The field of the case, and its values.
CURVES: dict[str, tuple[str, tuple[int, ...]]] = {
    "prompt": ("words", (64, 128, 256, 512)),
    "response": ("new_tokens", (16, 32, 64, 128)),
    "vocabulary": ("", (4_096, 16_384, 65_536, 151_936)),
    "batch": ("batch_size", (8, 16, 32, 64)),
    "images": ("images", (1, 2, 4, 8)),
}


def curve(name: str) -> list[dict[str, Any]]:
    """Measure one quantity at all its values. The last row has the fitted exponents."""
    field, values = CURVES[name]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as root:
        for value in values:
            folder = Path(root) / f"{value}"
            save_checkpoint(folder, _HIDDEN, _VOCABULARY if field else value)
            case = replace(_BASE, folder=str(folder), **({field: value} if field else {}))
            total = measured(case, "benchmarks.steps.with_vicur")["total"]
            rows.append({"quantity": name, "value": value, "seconds": total["seconds"], "extra_mb": total["extra_mb"]})
    fitted = {key: exponent(list(values), [row[key] for row in rows]) for key in ("seconds", "extra_mb")}
    return [*rows, {"quantity": name, "value": "exponent", **fitted}]


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Fit ``cost = a * size ** b`` by least squares of logarithms and return ``b``; NaN if a cost is not above zero."""
    if min(costs) <= 0:
        return math.nan
    across = [math.log(size) for size in sizes]
    up = [math.log(cost) for cost in costs]
    middle, level = sum(across) / len(across), sum(up) / len(up)
    covariance = sum((x - middle) * (y - level) for x, y in zip(across, up, strict=True))
    return covariance / sum((x - middle) ** 2 for x in across)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CURVES), choices=list(CURVES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    rows = [row for name in options.only for row in curve(name)]
    report("Time and memory of a training step, one thread", rows, options.json)


if __name__ == "__main__":
    main()
