"""Evidence of how a run ended, from several sources, and the conclusion drawn from it.

Kubeflow Pipelines 2.17 leaves the state of a run's graph at RUNNING if all steps of a loop come from the cache, after Terminate, and after
a pod that died without its launcher. That state therefore means "unknown", and the objects of the run decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["succeeded", "failed", "terminated"]

# States of the SDK, of the API server's tasks, and of the metadata store of older servers.
_STATES: dict[str, Verdict] = {
    **dict.fromkeys(("SUCCEEDED", "COMPLETE", "CACHED"), "succeeded"),
    **dict.fromkeys(("CANCELLED", "CANCELED", "CANCELING"), "terminated"),
    "FAILED": "failed",
}
_MOST_STEPS = 3


@dataclass(frozen=True)
class FailedStep:
    """A step that failed.

    Attributes:
        label: label of the step, such as ``train vicur``.
        problem: what happened to it, as the end of a sentence.
        error: the error in its log, without secrets; empty if there is none.
        at: time of its end; times sort as strings.
    """

    label: str
    problem: str
    error: str = ""
    at: str = ""

    @property
    def text(self) -> str:
        """The failure as sentences."""
        return f"{self.label} {self.problem}." + (f" Its last error: {self.error}" if self.error else "")


@dataclass(frozen=True)
class Evidence:
    """What one source says about a run.

    Attributes:
        verdict: how the run ended; ``None`` if the source does not say.
        failed: steps that failed, earliest first. Later failures are usually a consequence.
        cached: every step that may be cached came from the cache.
        made_by: the run that made the cached results; empty if unknown.
    """

    verdict: Verdict | None = None
    failed: tuple[FailedStep, ...] = ()
    cached: bool = False
    made_by: str = ""


@dataclass(frozen=True)
class Conclusion(Evidence):
    """What all sources together say about a run.

    Attributes:
        missing: why sources said nothing, one sentence each.
    """

    missing: Sequence[str] = ()

    @property
    def text(self) -> str:
        """The conclusion as sentences."""
        if self.verdict is None:
            return " ".join(
                ("The run ended: unknown. There is no evidence of a success or of a failure.", *self.missing)
            )
        parts = [f"The run ended: {self.verdict}."]
        if self.verdict == "failed":
            parts += [step.text for step in self.failed[:_MOST_STEPS]]
            if len(self.failed) > _MOST_STEPS:
                parts.append(f"{len(self.failed) - _MOST_STEPS} more steps failed.")
        if self.verdict == "succeeded" and self.cached:
            parts.append(
                f"Nothing changed{f' since run {self.made_by}' if self.made_by else ''}: every step came from the cache."
            )
        return " ".join(parts)


def conclude(sources: Iterable[Evidence], details: Iterable[Evidence], missing: Sequence[str]) -> Conclusion:
    """Return the conclusion from all evidence.

    Args:
        sources: evidence, the most reliable first. The first verdict counts.
        details: evidence with failed steps, the most precise first.
    """
    found = list(sources)
    return Conclusion(
        verdict=next((each.verdict for each in found if each.verdict), None),
        failed=next((each.failed for each in details if each.failed), ()),
        cached=any(each.cached for each in found),
        made_by=next((each.made_by for each in found if each.made_by), ""),
        missing=missing,
    )


def verdict_of_state(state: str) -> Verdict | None:
    """Return the verdict that a state of the platform means; ``None`` for RUNNING and unknown ones."""
    return _STATES.get(state.upper())
