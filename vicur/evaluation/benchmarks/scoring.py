"""``vicur benchmarks score``: verdicts of the harness and its judge on a model's answers, and the paper's metric from them.

A score is written only if every guard holds (:mod:`vicur.evaluation.benchmarks.guards`). After a failure, the judge's replies are kept, and
the same command continues.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vicur.data import read_manifest
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.aggregates import AggregateError, Outcome, by_value
from vicur.evaluation.benchmarks.answers import (
    Answer,
    AnswerRecord,
    manifest_sha256,
    read_answers,
    staged_benchmark,
)
from vicur.evaluation.benchmarks.declaration import Benchmark
from vicur.evaluation.benchmarks.guards import require_all_rows, require_clear, require_equal, require_verdicts
from vicur.evaluation.benchmarks.harness import Harness, HarnessResult
from vicur.evaluation.benchmarks.judge import Judge, JudgeIdentity
from vicur.evaluation.benchmarks.questions import Question, questions_of
from vicur.evaluation.benchmarks.registry import benchmark as named_benchmark
from vicur.evaluation.benchmarks.relay import relay_to
from vicur.evaluation.benchmarks.scores import Counts, ScoredRow, ScoreRecord, write_scores
from vicur.storage.folders import new_folder, unwritable

MAX_UNCLEAR = 0.1
"""Default share of responses that may be cut off, not asked or without an answer."""


@dataclass(frozen=True)
class _Judged:
    """Verdicts of the harness, and who judged."""

    result: HarnessResult
    judge: JudgeIdentity
    calls: int


def score(
    dataset: Path,
    answers: Path,
    output: Path,
    judge: Judge | None,
    harness: Harness | None,
    *,
    max_unclear: float = MAX_UNCLEAR,
) -> ScoreRecord:
    """Score a model's answers to a staged benchmark.

    Args:
        dataset: folder that ``vicur benchmarks stage`` has written, or the questions next to a pipeline's answers.
        answers: folder that ``vicur benchmarks answer`` has written.
        output: folder for ``scores.parquet`` and ``scores.json``.
        judge: the judge, or ``None`` to score by rules alone. Benchmarks without a harness are always scored by rules.
        harness: the harness's environment; needed with a judge.
        max_unclear: share of responses that may be cut off, not asked or without an answer.

    Raises:
        VicurError: if answers and dataset do not belong together, or a guard does not hold. Nothing is written then.
    """
    benchmark = named_benchmark(staged_benchmark(dataset))
    record, given = read_answers(answers)
    if record.dataset != manifest_sha256(dataset):
        raise VicurError(
            "are answers to another dataset.", where=str(answers), remedy=f"Answer {dataset}: vicur benchmarks answer."
        )
    questions = questions_of(dataset)
    require_all_rows([each.id for each in questions], given, str(answers))
    judged = None
    if judge is not None and benchmark.harness:
        if harness is None:
            raise ValueError("a judge needs the harness")
        judged = _judged(benchmark, questions, given, record, output, judge, harness)
    rows = _rows(benchmark, questions, given, judged)
    require_clear(rows, max_unclear, str(answers))
    by_harness = _aggregate(benchmark, questions, [row.correct for row in rows], str(answers))
    if judged is not None:
        require_equal(by_harness, judged.result.score, str(answers))
    outcomes = [Outcome({"kind": row.kind}, row.correct) for row in rows]
    scored = ScoreRecord(
        benchmark=benchmark.name,
        official=bool(read_manifest(dataset).source.get("official")),
        score=by_harness,
        rule_score=_aggregate(benchmark, questions, [row.rule_correct for row in rows], str(answers)),
        counts=_counts(rows, judged),
        by_kind=by_value(outcomes, "kind"),
        harness=f"ms-vlmeval {judged.result.version}" if judged else None,
        judge=judged.judge if judged else None,
        answers=record,
    )
    with new_folder(output) as partial:
        write_scores(rows, scored, partial)
    shutil.rmtree(_parts(output), ignore_errors=True)
    return scored


def _judged(
    benchmark: Benchmark,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    record: AnswerRecord,
    output: Path,
    judge: Judge,
    harness: Harness,
) -> _Judged:
    """Return the verdicts of the harness. The judge must answer a probe before and after, and be the same."""
    before = judge.probe()
    # Replies belong to these answers and this judge.
    key = hashlib.sha256(json.dumps([record.identity, before.hash]).encode()).hexdigest()[:16]
    folder = _parts(output) / key
    work = folder / "harness"
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    except OSError as error:
        raise unwritable(output, error) from error
    with relay_to(judge, before, folder / "replies.jsonl") as relay:
        result = harness.score(
            benchmark.harness, [each.columns for each in questions], [each.response for each in answers], relay, work
        )
        calls = relay.calls
    if (after := judge.probe()) != before:
        raise judge.unusable(f"was {before.served} before the harness ran, and {after.served} afterwards")
    require_verdicts(result, str(work))
    return _Judged(result, before, calls)


def _parts(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def _rows(
    benchmark: Benchmark, questions: Sequence[Question], answers: Sequence[Answer], judged: _Judged | None
) -> list[ScoredRow]:
    verdicts = {row.index: row for row in judged.result.rows} if judged else {}
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        stated = benchmark.stated(answer.response, question.columns) if answer.unanswered is None else None
        by_rule = stated is not None and benchmark.is_right(stated, question.columns)
        verdict = verdicts.get(question.index)
        rows.append(
            ScoredRow(
                id=question.id,
                group=question.group,
                kind=question.kind,
                correct=by_rule if verdict is None else verdict.correct,
                rule_correct=by_rule,
                extracted=verdict.extracted if verdict else None,
                rule_extracted=stated,
                judged=verdict is not None and verdict.judged,
                unparsed=stated is None if verdict is None else verdict.unparsed,
                finished=answer.finished,
                unanswered=answer.unanswered,
            )
        )
    return rows


def _counts(rows: Sequence[ScoredRow], judged: _Judged | None) -> Counts:
    return Counts(
        rows=len(rows),
        judged=sum(row.judged for row in rows),
        unparsed=sum(row.unparsed for row in rows),
        unfinished=sum(not row.finished for row in rows),
        unanswered=sum(row.unanswered is not None for row in rows),
        judge_calls=judged.calls if judged else 0,
    )


def _aggregate(benchmark: Benchmark, questions: Sequence[Question], correct: Sequence[bool], where: str) -> float:
    try:
        return benchmark.aggregate(
            [Outcome(each.columns, right) for each, right in zip(questions, correct, strict=True)]
        )
    except AggregateError as error:
        raise VicurError(
            f"{benchmark.title} has no score: {error}.", where=where, remedy="Stage the whole benchmark."
        ) from error
