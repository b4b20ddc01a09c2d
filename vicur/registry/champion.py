"""The candidate and the present champion on the same questions.

Each version keeps the responses of its evaluation. Where they answer the very questions that the candidate answered (same
dataset, same decoding), they are checked again with today's answer checker and compared. Where they do not, the champion
is asked now, under the candidate's terms.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.config.evaluation import REPORT_SPLIT, EvaluationConfig, SampledDecoding
from vicur.config.registry import RegistryConfig
from vicur.config.sampling import Sampling
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.evaluation.comparison import Evaluation
from vicur.evaluation.predictions import Prediction, check_response
from vicur.evaluation.statistics import paired_difference
from vicur.registry.candidate import Candidate
from vicur.registry.checkpoints import download_checkpoint
from vicur.registry.gate import AgainstChampion
from vicur.registry.versions import Version, tag
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

EVALUATION_RUN_TAG = "vicur.evaluation_run"
EVALUATION_FOLDER = "evaluation"


def against_champion(
    client: MlflowClient, champion: Version, case: Candidate, config: RegistryConfig, context: Context
) -> AgainstChampion:
    """Compares the candidate with the champion, by the same bootstrap as with its base.

    Args:
        client: MLflow's client.
        champion: the champion's version.
        case: the candidate.
        config: whether the champion may be asked, and how.
        context: progress and a folder to work in.
    """
    version = champion.number
    questions = case.answers.predictions[REPORT_SPLIT]
    answers = _kept_answers(client, champion, case, context.work)
    if answers is None and not config.reevaluate_champion:
        return AgainstChampion(
            version, obstacle="it has not answered these questions, and reevaluate_champion is turned off."
        )
    if answers is None:
        log.info("asking the champion, version %s, the questions that the candidate answered", version)
        try:
            answers = _ask(client, champion, case, config, context)
        except VicurError as error:
            return AgainstChampion(version, obstacle=f"it cannot be asked these questions ({error}).")
    by_id = {answer.example_id: answer for answer in answers}
    if set(by_id) != {question.example_id for question in questions}:
        return AgainstChampion(version, obstacle="it answered other questions.")
    difference = paired_difference(
        [question.correct for question in questions],
        [by_id[question.example_id].correct for question in questions],
        [question.group for question in questions],
        seed=case.comparison.seed,
        resamples=case.comparison.resamples,
        confidence=case.comparison.confidence,
    )
    return AgainstChampion(version, difference)


def keep_answers(client: MlflowClient, version: Version, evaluation: Path, run_id: str) -> None:
    """Keeps a version's evaluation with the run that registers it, for later candidates to be compared with."""
    client.log_artifacts(run_id, str(evaluation), EVALUATION_FOLDER)
    tag(client, version, {EVALUATION_RUN_TAG: run_id})


def _kept_answers(client: MlflowClient, champion: Version, case: Candidate, work: Path) -> Sequence[Prediction] | None:
    from mlflow.exceptions import MlflowException

    run_id = champion.tags.get(EVALUATION_RUN_TAG)
    if run_id is None or champion.tags.get("vicur.dataset") != case.lineage.dataset:
        return None
    folder = _emptied(work / "kept")
    try:
        kept = Evaluation.load(Path(client.download_artifacts(run_id, EVALUATION_FOLDER, str(folder))))
    except (MlflowException, OSError, VicurError) as error:
        log.warning("what champion version %s answered cannot be read (%s)", champion.number, error)
        return None
    if kept.metrics.decoding != case.answers.metrics.decoding:
        return None
    examples = {example.id: example for example in read_examples(case.dataset, REPORT_SPLIT)}
    asked = {question.example_id for question in case.answers.predictions[REPORT_SPLIT]}
    rows = [p for p in kept.predictions.get(REPORT_SPLIT, []) if p.example_id in asked]
    if {row.example_id for row in rows} != asked:
        return None
    return [check_response(examples[p.example_id], p.response, tokens=p.tokens, finished=p.finished) for p in rows]


def _ask(
    client: MlflowClient, champion: Version, case: Candidate, config: RegistryConfig, context: Context
) -> Sequence[Prediction]:
    # Loads torch: a champion whose answers were kept needs none.
    from vicur.evaluation.evaluate import evaluate

    model = download_checkpoint(client, champion, context.work)
    output = _emptied(context.work / "champion")
    terms = EvaluationConfig(
        splits=(REPORT_SPLIT,),
        decoding=SampledDecoding(sampling=Sampling.model_validate(case.answers.metrics.decoding)),
        max_examples=len(case.answers.predictions[REPORT_SPLIT]),
        attention_samples=0,
        batch_size=config.batch_size,
        threads=config.threads,
    )
    inputs = {"dataset": case.dataset, "model": model}
    evaluate(terms, inputs, output, replace(context, tracker=Tracker()))
    return Evaluation.load(output).predictions[REPORT_SPLIT]


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
