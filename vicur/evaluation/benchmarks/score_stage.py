"""The stage that scores one model's answers to the paper's benchmarks, with their harness and a judge."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from vicur.config.benchmarks import API_KEY_VARIABLE, ScoresConfig
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.harness import Harness
from vicur.evaluation.benchmarks.index import read_index, write_index
from vicur.evaluation.benchmarks.judge import Judge
from vicur.evaluation.benchmarks.questions import QUESTIONS
from vicur.evaluation.benchmarks.registry import benchmark
from vicur.evaluation.benchmarks.scores import ScoreRecord
from vicur.evaluation.benchmarks.scoring import score
from vicur.stage.runner import Context, Stage, Summary
from vicur.wording import percent


class ScoreSummary(Summary):
    """Scores by benchmark."""

    scores: dict[str, float]


def score_benchmarks(config: ScoresConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> ScoreSummary:
    """Score the answers of one model.

    Args:
        inputs: ``answers``, of :func:`~vicur.evaluation.benchmarks.answer_stage.answer_benchmarks`.
        output: folder for a folder of scores per benchmark, and ``benchmarks.json``.

    Raises:
        VicurError: if a guard does not hold (:mod:`vicur.evaluation.benchmarks.guards`), or there is no harness.
    """
    names = read_index(inputs["answers"])
    judge, harness = _judge(config, names)
    scored: dict[str, ScoreRecord] = {}
    for number, name in enumerate(names):
        context.events.progress(number, len(names), f"benchmarks, {name}")
        answers = inputs["answers"] / name
        # Replies of the judge are kept in the scratch space, so that a retry asks only what is missing.
        folder = context.work / name
        scored[name] = score(answers / QUESTIONS, answers, folder, judge, harness, max_unclear=config.max_unclear)
        shutil.copytree(folder, output / name)
    write_index(names, output)
    context.tracker.params(config.identity())
    scores = {name: each.score for name, each in scored.items()}
    text = ", ".join(f"{name} {percent(value)}" for name, value in scores.items())
    return ScoreSummary(
        key_figure=text or "no benchmarks",
        metrics={
            f"bench/{name}/{metric}": value for name, each in scored.items() for metric, value in each.figures().items()
        },
        scores=scores,
    )


def _judge(config: ScoresConfig, names: list[str]) -> tuple[Judge | None, Harness | None]:
    if config.judge.by_rules or not names:
        return None, None
    if not config.judge.url:
        raise VicurError("is empty.", where="benchmarks.judge.url", remedy="Name the judge's API, or none.")
    judge = Judge(config.judge.url, config.judge.model, config.judge.revision, os.environ.get(API_KEY_VARIABLE, ""))
    if not any(benchmark(name).harness for name in names):
        return judge, None
    return judge, Harness.found(Path(config.python) if config.python else None, "benchmarks.python")


SCORE = Stage("benchmark-score", score_benchmarks, ScoreSummary)
