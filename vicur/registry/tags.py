"""The tags of a version, which MLflow shows in a table: six that people read. Everything else is in ``provenance.json``.

Versions of releases before 0.2 have about twenty tags and no such file. They are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vicur.config.evaluation import REPORT_SPLIT
from vicur.evaluation.benchmarks.comparing import BenchmarkComparison
from vicur.evaluation.comparison import SplitComparison
from vicur.evaluation.statistics import Difference
from vicur.wording import estimate, percent

PREFIX = "vicur."
VERDICT_TAG = "vicur.verdict"
ACCURACY_TAG = "vicur.accuracy"
BASE_TAG = "vicur.base"
DATASET_TAG = "vicur.dataset"
CUES_TAG = "vicur.cues"
BENCHMARKS_TAG = "vicur.benchmarks"
METHOD_TAG = "vicur.method"
PASSED, NOT_PASSED = "passed", "not passed"
_EARLIER_VERDICT = "vicur.gate"
_EARLIER_REASONS = "vicur.gate.reasons"


def version_tags(
    *, method: str, base: str, dataset: str, cues: str, on_test: SplitComparison, benchmarks: str = ""
) -> dict[str, str]:
    """Return the tags of a new version, which has no verdict yet. ``benchmarks`` is the text of its scores, if it has any."""
    return {
        **({BENCHMARKS_TAG: benchmarks} if benchmarks else {}),
        ACCURACY_TAG: accuracy_text(on_test.accuracy, on_test.difference),
        BASE_TAG: base,
        DATASET_TAG: dataset,
        CUES_TAG: cues,
        METHOD_TAG: method,
    }


def accuracy_text(accuracy: float, gain: Difference) -> str:
    """Return the tag of an accuracy, with the gain over the base."""
    points = estimate(gain.mean, gain.low, gain.high)
    return f"{percent(accuracy)} on {REPORT_SPLIT}, {points} points vs. base"


def benchmarks_text(benchmarks: Mapping[str, BenchmarkComparison], method: str) -> str:
    """Return the tag of a student's scores on benchmarks: a line for each, with the gain over the base and the judge."""
    lines = []
    for name, compared in benchmarks.items():
        result = compared.models.get(method)
        if result is None:
            continue
        gain = result.difference
        points = f", {estimate(gain.mean, gain.low, gain.high)} points vs. base" if gain is not None else ""
        judge = f"judge {compared.judge.model}" if compared.judge is not None else "by rules"
        lines.append(f"{name} {percent(result.score)}{points} ({judge})")
    return "\n".join(lines)


def verdict_text(*, passed: bool, reasons: Sequence[str]) -> str:
    """Return the tag of a verdict: ``passed`` or ``not passed``, and a line for every reason."""
    return "\n".join([PASSED if passed else NOT_PASSED, *reasons])


def verdict_state(tags: Mapping[str, str]) -> str:
    """Return ``passed``, ``not passed`` or, before the gate has decided, an empty string. For display only: anyone can edit a tag."""
    return (tags.get(VERDICT_TAG) or tags.get(_EARLIER_VERDICT) or "").partition("\n")[0]


def verdict_reasons(tags: Mapping[str, str]) -> list[str]:
    """Return the sentences of the gate, those of rules that did not pass first."""
    text = tags.get(VERDICT_TAG)
    return text.splitlines()[1:] if text else tags.get(_EARLIER_REASONS, "").splitlines()
