"""Compare the candidate with the current champion on the same questions.

Each version stores the responses of its evaluation. If they cover the candidate's questions (same dataset, same
decoding), they are checked again with the current answer checker. Otherwise the champion is evaluated now, with the
candidate's settings.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.config.decoding import EvaluationSampling, SampledDecoding
from vicur.config.evaluation import REPORT_SPLIT, EvaluationConfig
from vicur.config.registry import RegistryConfig
from vicur.data.stored import ExamplesById
from vicur.errors import VicurError
from vicur.evaluation.comparison import Evaluation
from vicur.evaluation.predictions import Prediction, check_response
from vicur.prompts.record import prompts_of
from vicur.registry.candidate import Candidate
from vicur.registry.checkpoints import download_checkpoint
from vicur.registry.gate import AgainstChampion
from vicur.registry.paired import EVALUATION_FOLDER, Resampling, compared, stored_evaluation
from vicur.registry.tags import DATASET_TAG
from vicur.registry.verdict import evaluation_run_of
from vicur.registry.versions import Version
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


def against_champion(
    client: MlflowClient, champion: Version, candidate: Candidate, config: RegistryConfig, context: Context
) -> AgainstChampion:
    """Compare the candidate with the champion, using the same bootstrap as for its base."""
    version = champion.number
    questions = candidate.evaluation.predictions[REPORT_SPLIT]
    predictions = _stored_predictions(client, champion, candidate, context.work)
    if predictions is None and not config.reevaluate_champion:
        return AgainstChampion(
            version, obstacle="it was not evaluated on these questions, and registry.reevaluate_champion is false."
        )
    if predictions is None:
        log.info("Evaluating the champion, version %s, on the candidate's questions.", version)
        try:
            predictions = _evaluate_champion(client, champion, candidate, config, context)
        except VicurError as error:
            return AgainstChampion(version, obstacle=f"it cannot be evaluated on these questions ({error}).")
    return compared(version, questions, predictions, resampling_of(candidate))


def resampling_of(candidate: Candidate) -> Resampling:
    """Return the settings of the bootstrap of a candidate's comparison with its base."""
    comparison = candidate.comparison
    return Resampling(seed=comparison.seed, resamples=comparison.resamples, confidence=comparison.confidence)


def store_evaluation(client: MlflowClient, evaluation: Path, run_id: str) -> None:
    """Store the evaluation of a version with the registering run, to compare later candidates with."""
    client.log_artifacts(run_id, str(evaluation), EVALUATION_FOLDER)


def _stored_predictions(
    client: MlflowClient, champion: Version, candidate: Candidate, work: Path
) -> Sequence[Prediction] | None:
    """Return the champion's stored predictions on the candidate's questions, or ``None`` if they cannot be used."""
    run_id = evaluation_run_of(client, champion)
    if run_id is None or champion.tags.get(DATASET_TAG) != candidate.lineage.dataset:
        return None
    try:
        stored = stored_evaluation(client, run_id, _new_folder(work / "stored"))
    except VicurError as error:
        log.warning("Cannot compare with the stored evaluation of champion version %s: %s", champion.number, error)
        return None
    if stored.metrics.decoding != candidate.evaluation.metrics.decoding:
        return None
    if stored.metrics.prompts.pixels != candidate.evaluation.metrics.prompts.pixels:
        return None
    examples = ExamplesById(candidate.dataset, REPORT_SPLIT)
    wanted = {question.example_id for question in candidate.evaluation.predictions[REPORT_SPLIT]}
    rows = [p for p in stored.predictions.get(REPORT_SPLIT, []) if p.example_id in wanted]
    if {row.example_id for row in rows} != wanted:
        return None
    # An older release may have checked answers differently: both sides must be judged by the same rules.
    return [check_response(examples[p.example_id], p.response, tokens=p.tokens, finished=p.finished) for p in rows]


def _evaluate_champion(
    client: MlflowClient, champion: Version, candidate: Candidate, config: RegistryConfig, context: Context
) -> Sequence[Prediction]:
    # Imports torch, which a champion with usable stored predictions does not need.
    from vicur.evaluation.evaluate import evaluate

    model = download_checkpoint(client, champion, context.work)
    output = _new_folder(context.work / "champion")
    # The champion gets prompts as in its training. Its images have the size that the candidate's have.
    prompts = prompts_of(model).model_copy(update={"pixels": candidate.evaluation.metrics.prompts.pixels})
    settings = EvaluationConfig(
        prompts=prompts,
        splits=(REPORT_SPLIT,),
        decoding=SampledDecoding(sampling=EvaluationSampling.model_validate(candidate.evaluation.metrics.decoding)),
        # The candidate may have answered only the first questions of the split.
        max_examples=len(candidate.evaluation.predictions[REPORT_SPLIT]),
        attention_samples=0,
        batch_size=config.batch_size,
        threads=config.threads,
    )
    inputs = {"dataset": candidate.dataset, "model": model}
    # A tracker without a server: figures of the champion must not be logged to the candidate's run.
    # Its answers are kept apart from those of another champion that an interrupted registration has asked.
    work = context.work / f"champion-{champion.number}"
    evaluate(settings, inputs, output, replace(context, tracker=Tracker(), work=work))
    return Evaluation.load(output).predictions[REPORT_SPLIT]


def _new_folder(folder: Path) -> Path:
    # An earlier, interrupted attempt may have left files behind.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
