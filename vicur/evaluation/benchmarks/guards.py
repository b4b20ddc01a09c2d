"""Conditions without which a score is not written. Each has been seen to lower a published kind of figure silently."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answers import Answer
from vicur.evaluation.benchmarks.harness import HarnessResult
from vicur.evaluation.benchmarks.scores import ScoredRow
from vicur.wording import listed, percent

_TOLERANCE = 6e-4  # Video-MME's score has three decimals


def require_all_rows(ids: Sequence[str], answers: Sequence[Answer], where: str) -> None:
    """Check that every question of the benchmark has exactly one answer, in the same order.

    Raises:
        VicurError: if not.
    """
    found = [answer.id for answer in answers]
    if found == [*ids]:
        return
    missing = [each for each in ids if each not in set(found)]
    foreign = [each for each in found if each not in set(ids)]
    what = f"misses {len(missing):,} of {len(ids):,} questions: {listed(missing, 3)}" if missing else ""
    what = what or (
        f"has answers to other questions: {listed(foreign, 3)}" if foreign else "has rows twice or in another order"
    )
    raise VicurError(
        f"{what}. A score would have another denominator.",
        where=where,
        remedy="Answer the whole benchmark, without evaluation.max_examples.",
    )


def require_verdicts(result: HarnessResult, where: str) -> None:
    """Check that no verdict stands for a failed call of the judge.

    Raises:
        VicurError: if one does.
    """
    failed = [row.index for row in result.rows if row.failed]
    if failed:
        raise VicurError(
            f"the judge gave no verdict on {len(failed):,} rows: {listed(failed, 3)}. The harness would count them as wrong.",
            where=where,
            remedy="Use a judge that follows the harness's prompts, and run the command again.",
        )


def require_equal(ours: float, harness: float | None, where: str) -> None:
    """Check that our aggregate of the harness's verdicts is what the harness prints, if it prints the same metric.

    Raises:
        VicurError: if it is not.
    """
    if harness is not None and abs(ours - harness) > _TOLERANCE:
        raise VicurError(
            f"the harness's verdicts give {percent(ours)}, but it prints {percent(harness)}.",
            where=where,
            remedy="Use the release of the harness that make .venv-benchmarks installs.",
        )


def require_clear(rows: Sequence[ScoredRow], most: float, where: str) -> None:
    """Check that few responses were cut off, not asked, or without an answer.

    Raises:
        VicurError: if their share is above ``most``.
    """
    cut_off = sum(not row.finished for row in rows)
    unasked = sum(row.unanswered is not None for row in rows)
    unparsed = sum(row.unparsed and row.finished and row.unanswered is None for row in rows)
    unclear = cut_off + unasked + unparsed
    if unclear > most * len(rows):
        raise VicurError(
            f"{unclear:,} of {len(rows):,} responses are unclear: {cut_off:,} cut off, {unasked:,} not asked because their prompt is too "
            f"long, {unparsed:,} without an answer. A score would measure this, not the model.",
            where=where,
            remedy=f"Look at the responses. If they are as they should be, raise --max-unclear (now {most:g}).",
        )
