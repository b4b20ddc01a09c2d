"""The paper's seven benchmarks by name. To add one, write its declaration and list it here."""

from __future__ import annotations

from vicur.errors import VicurError
from vicur.evaluation.benchmarks.declaration import Benchmark
from vicur.evaluation.benchmarks.dynamath import DynaMath
from vicur.evaluation.benchmarks.mathverse import MathVerse
from vicur.evaluation.benchmarks.mathvista import MathVista
from vicur.evaluation.benchmarks.mmmu import Mmmu
from vicur.evaluation.benchmarks.videomme import VideoMme
from vicur.evaluation.benchmarks.vision_r1 import VisionR1
from vicur.evaluation.benchmarks.wemath import WeMath
from vicur.wording import did_you_mean

BENCHMARKS: dict[str, Benchmark] = {
    each.name: each for each in (VisionR1(), DynaMath(), MathVista(), WeMath(), MathVerse(), Mmmu(), VideoMme())
}
"""In the order of the paper's table."""


def benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name.

    Raises:
        VicurError: if there is none.
    """
    if name not in BENCHMARKS:
        raise VicurError(
            f"is not a benchmark.{did_you_mean(name, BENCHMARKS)}",
            where=f"NAME {name!r}",
            remedy=f"Choose from {', '.join(BENCHMARKS)}.",
        )
    return BENCHMARKS[name]
