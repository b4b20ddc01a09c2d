"""Everything that was measured about a candidate, as numbers by name. The gate's limits refer to these names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vicur.cues.audit import Audit
from vicur.errors import VicurError
from vicur.evaluation.statistics import Difference
from vicur.registry.candidate import Candidate
from vicur.registry.gate import AGAINST_CHAMPION, AgainstChampion
from vicur.storage.folders import files_below


def figures_of(candidate: Candidate, against: AgainstChampion | None) -> dict[str, float]:
    """Return the figures of a candidate.

    These are ``test/accuracy`` and the other fields of ``metrics.json``, for each split and evaluation set; ``test/kind/count/accuracy``
    for a kind of question; ``test/blind/no_image/accuracy``, ``test/repeats/pass_at/8`` and ``latency/p95_seconds`` if they are measured;
    ``test/difference``, ``test/difference_low`` and ``test/difference_high`` against the base, and the same below ``champion/`` against
    the champion; ``cues/answer_leak_share`` and the other shares of the cue audit; ``parameters`` and ``checkpoint_bytes``; and of each
    benchmark that the run scored ``bench/mathvista/score``, ``difference_low``, ``unparsed_share`` and others.
    """
    figures: dict[str, float] = {}
    for split, metrics in candidate.evaluation.metrics.splits.items():
        values = metrics.model_dump(mode="json")
        kinds = values.pop("by_kind")
        figures |= _numbers(split, {**values, "kind": kinds})
        # A share can be limited whatever the number of questions.
        figures[f"{split}/hint_leakage_share"] = metrics.hint_leakage.samples / metrics.examples
    if candidate.evaluation.metrics.latency is not None:
        figures |= _numbers("latency", candidate.evaluation.metrics.latency.model_dump(mode="json"))
    for split, compared in candidate.comparison.students[candidate.lineage.method].splits.items():
        figures |= {f"{split}/base_accuracy": compared.base_accuracy, **_difference(split, compared.difference)}
        for kind, of_kind in compared.by_kind.items():
            figures |= _difference(f"{split}/kind/{kind}", of_kind.difference)
    figures |= _benchmark_figures(candidate)
    figures |= against_figures(against)
    figures |= _numbers("cues", read_audit(candidate.cues).distill.model_dump(mode="json"))
    figures["parameters"] = float(candidate.evaluation.metrics.model.parameters)
    figures["checkpoint_bytes"] = float(sum(file.stat().st_size for file in files_below(candidate.student)))
    return figures


def _benchmark_figures(candidate: Candidate) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, compared in candidate.comparison.benchmarks.items():
        result = compared.models.get(candidate.lineage.method)
        if result is None:
            continue
        figures |= _numbers(f"bench/{name}", {**result.figures, "base_score": compared.models["base"].score})
        if result.difference is not None:
            figures |= _difference(f"bench/{name}", result.difference)
    return figures


def against_figures(against: AgainstChampion | None) -> dict[str, float]:
    """Return the figures of a comparison with a champion."""
    figures: dict[str, float] = {}
    for name, difference in against.slices.items() if against is not None else ():
        figures |= _difference(f"{AGAINST_CHAMPION}{name}", difference)
    return figures


def read_audit(cues: Path) -> Audit:
    """Read the audit of cues.

    Raises:
        VicurError: if it is missing or damaged.
    """
    path = cues / "audit.json"
    try:
        return Audit.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Extract the cues again."
        ) from error


def _difference(name: str, difference: Difference) -> dict[str, float]:
    return {
        f"{name}/difference": difference.mean,
        f"{name}/difference_low": difference.low,
        f"{name}/difference_high": difference.high,
    }


def _numbers(prefix: str, values: Mapping[str, Any]) -> dict[str, float]:
    return dict(_leaves(prefix, values))


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}/{name}", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}/{name}", float(value)
