"""The stage in which one model answers the paper's benchmarks of a run, and those answers' questions for the stage that scores them.

Answers are kept after each batch, in the stage's scratch space and at its durable address, so that a killed or moved step continues with
the questions that have none. Several processes share the questions of a benchmark if the configuration says so, each on its own GPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from vicur.config.benchmarks import AnswersConfig
from vicur.config.evaluation import BenchmarkSetConfig
from vicur.evaluation.benchmarks.answering import answer, paper_settings
from vicur.evaluation.benchmarks.answers import read_answers
from vicur.evaluation.benchmarks.index import write_index
from vicur.evaluation.benchmarks.processes import answer_together
from vicur.evaluation.benchmarks.questions import QUESTIONS, write_questions
from vicur.evaluation.benchmarks.staged_sets import staged_set
from vicur.stage.runner import Context, Stage, Summary


class AnswerSummary(Summary):
    """Numbers of questions by benchmark."""

    rows: dict[str, int]
    unfinished: dict[str, int]
    """Responses that were cut off."""
    unanswered: dict[str, int]
    """Questions that were not asked, because their prompt is too long."""


def answer_benchmarks(
    config: AnswersConfig, inputs: Mapping[str, Path], output: Path, context: Context
) -> AnswerSummary:
    """Answer the benchmarks of a run.

    Args:
        inputs: ``model``, a base or a student.
        output: folder for a folder of answers per benchmark, with its questions, and ``benchmarks.json``.

    Raises:
        VicurError: if a staged benchmark or the model cannot be read, or a benchmark has another hash.
    """
    summary = AnswerSummary(key_figure="no benchmarks", rows={}, unfinished={}, unanswered={})
    for each in config.sets:
        with staged_set(each, context.work / f"{each.label}.fetched", context.events) as dataset:
            folder = context.work / each.label
            _answer(config, each, dataset, inputs["model"], folder, context)
            shutil.copytree(folder, output / each.label)
            write_questions(dataset, output / each.label / QUESTIONS)
        _, answers = read_answers(output / each.label)
        summary.rows[each.label] = len(answers)
        summary.unfinished[each.label] = sum(not one.finished for one in answers)
        summary.unanswered[each.label] = sum(one.unanswered is not None for one in answers)
    write_index([each.label for each in config.sets], output)
    context.tracker.params({**config.identity(), "seed": context.seed})
    if not config.sets:
        return summary
    counts = {name: sum(getattr(summary, name).values()) for name in ("rows", "unfinished", "unanswered")}
    text = f"{counts['rows']:,} questions of {len(config.sets)} benchmark{'s' if len(config.sets) > 1 else ''}"
    notes = [f"{counts[name]:,} {words}" for name, words in _NOTES.items() if counts[name]]
    metrics = {
        f"bench/{label}/{name}": float(count)
        for name in ("unfinished", "unanswered")
        for label, count in getattr(summary, name).items()
    }
    return summary.model_copy(update={"key_figure": ", ".join([text, *notes]), "metrics": metrics})


_NOTES = {"unfinished": "cut off", "unanswered": "not asked"}


def _answer(
    config: AnswersConfig, each: BenchmarkSetConfig, dataset: Path, model: Path, folder: Path, context: Context
) -> None:
    settings = paper_settings(config.evaluation) if config.settings == "paper" else config.evaluation
    kept = f"{context.checkpoints}/{each.label}" if context.checkpoints else None

    def on_progress(done: int, total: int) -> None:
        context.events.progress(done, total, f"questions of {each.label}")

    if config.processes == 1:
        answer(dataset, model, folder, settings, seed=context.seed, kept=kept, on_progress=on_progress)
    else:
        answer_together(
            config.processes, dataset, model, folder, settings, seed=context.seed, kept=kept, on_progress=on_progress
        )


ANSWER = Stage("benchmark-answer", answer_benchmarks, AnswerSummary)
