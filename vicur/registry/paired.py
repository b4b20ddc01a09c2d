"""Compare two versions on the same questions, by their stored answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.config.evaluation import REPORT_SPLIT
from vicur.errors import VicurError
from vicur.evaluation.comparison import Evaluation
from vicur.evaluation.predictions import Prediction
from vicur.evaluation.statistics import Difference, paired_difference
from vicur.registry.gate import AgainstChampion
from vicur.registry.tags import DATASET_TAG
from vicur.registry.versions import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVALUATION_FOLDER = "evaluation"


class Resampling(BaseModel, frozen=True):
    """Settings of the bootstrap: those of the comparison of the candidate with its base."""

    seed: int
    resamples: int
    confidence: float


def compared(
    version: str, questions: Sequence[Prediction], champion: Sequence[Prediction], resampling: Resampling
) -> AgainstChampion:
    """Compare a candidate's answers with those of the champion, the version ``version``, in total and by kind of question."""
    by_id = {prediction.example_id: prediction for prediction in champion}
    if set(by_id) != {question.example_id for question in questions} or not questions:
        return AgainstChampion(version, obstacle="it was evaluated on different questions.")

    def difference(rows: Sequence[Prediction]) -> Difference:
        return paired_difference(
            [row.correct for row in rows],
            [by_id[row.example_id].correct for row in rows],
            [row.group for row in rows],
            **resampling.model_dump(),
        )

    slices: dict[str, Difference] = {REPORT_SPLIT: difference(questions)}
    for kind in sorted({question.kind for question in questions}):
        slices[f"{REPORT_SPLIT}/kind/{kind}"] = difference([row for row in questions if row.kind == kind])
    return AgainstChampion(version, slices[str(REPORT_SPLIT)], slices=slices)


def stored_evaluation(client: MlflowClient, run_id: str, folder: Path) -> Evaluation:
    """Download the evaluation that was stored with a run.

    Raises:
        VicurError: if there is none, or it is damaged.
    """
    from mlflow.exceptions import MlflowException

    try:
        return Evaluation.load(Path(client.download_artifacts(run_id, EVALUATION_FOLDER, str(folder))))
    except (MlflowException, OSError) as error:
        raise VicurError(
            f"its stored evaluation cannot be read ({str(error).splitlines()[0]}).",
            where=f"MLflow run {run_id}",
            remedy="Register the student again.",
        ) from error


def compare_stored(
    client: MlflowClient,
    version: Version,
    evaluation: Callable[[], Evaluation],
    champion: tuple[Version, str | None],
    resampling: Resampling,
) -> AgainstChampion:
    """Compare a version with a champion by their stored evaluations alone.

    Args:
        client: client of the server that has the champion.
        evaluation: returns the stored evaluation of ``version``, which may be on another server.
        champion: the champion, and the MLflow run that holds its evaluation.
    """
    against, run_id = champion
    number = against.number
    if run_id is None:
        return AgainstChampion(number, obstacle="its evaluation was not stored.")
    if version.tags.get(DATASET_TAG) != against.tags.get(DATASET_TAG):
        return AgainstChampion(number, obstacle="it was evaluated on another dataset. Register the student again.")
    try:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = evaluation(), stored_evaluation(client, run_id, Path(folder))
    except VicurError as error:
        return AgainstChampion(number, obstacle=error.problem)
    if (ours.metrics.decoding, ours.metrics.prompts.pixels) != (theirs.metrics.decoding, theirs.metrics.prompts.pixels):
        return AgainstChampion(number, obstacle="it was evaluated with another decoding or pixel budget.")
    return compared(
        number, ours.predictions.get(REPORT_SPLIT, []), theirs.predictions.get(REPORT_SPLIT, []), resampling
    )
