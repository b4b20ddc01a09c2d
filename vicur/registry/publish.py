"""Writes into MLflow what people look for there: the version's page, its figures, and the pipeline run's page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vicur.data import read_manifest
from vicur.evaluation.compare import REPORT
from vicur.registry.candidate import Candidate
from vicur.registry.gate import GateOutcome
from vicur.registry.pages import run_page, version_page
from vicur.registry.source import link_to_training
from vicur.registry.versions import Version
from vicur.tracking.records import log_dataset
from vicur.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOTE = "mlflow.note.content"


def publish(client: MlflowClient, version: Version, case: Candidate, outcome: GateOutcome, tracker: Tracker) -> None:
    """Publishes the version, with its aliases as they are now.

    Args:
        client: MLflow's client.
        version: the version.
        case: the student.
        outcome: what the gate decided.
        tracker: the registration's run, and through it the pipeline's.
    """
    page = version_page(case.lineage, case.comparison, outcome, link_to_training(client, case.lineage))
    client.update_model_version(version.model, version.number, page)
    tracker.params({"model": version.model, "method": case.lineage.method})
    tracker.tags({**case.lineage.tags(), "vicur.model_version": f"{version.model}/{version.number}"})
    if tracker.run_id is not None:
        _log_figures_of_model(client, version, case, tracker.run_id)
    if tracker.parent_run_id is not None:
        _log_pipeline(client, version, case, outcome, tracker.parent_run_id)


def _log_figures_of_model(client: MlflowClient, version: Version, case: Candidate, run_id: str) -> None:
    """Accuracies, tied to the model and the dataset, so that the model's own page shows them."""
    from mlflow.entities import Metric

    name, digest = case.lineage.dataset_source, case.lineage.dataset.removesuffix(".dir")
    _log_dataset(client, case, run_id, "evaluation")
    figures = {f"{split}/accuracy": found.accuracy for split, found in case.answers.metrics.splits.items()}
    now = int(time.time() * 1000)
    client.log_batch(
        run_id, [Metric(key, value, now, 0, version.model_id, name, digest) for key, value in figures.items()]
    )


def _log_pipeline(client: MlflowClient, version: Version, case: Candidate, outcome: GateOutcome, run_id: str) -> None:
    """The run of the whole pipeline: accuracies of base and students, the report, the data, and the verdict."""
    from mlflow.entities import Metric

    comparison = case.comparison
    accuracies = {f"base/{split}/accuracy": value for split, value in comparison.base_accuracy.items()}
    for method, student in comparison.students.items():
        accuracies |= {f"{method}/{split}/accuracy": found.accuracy for split, found in student.splits.items()}
    now = int(time.time() * 1000)
    client.log_batch(run_id, [Metric(key, value, now, 0) for key, value in accuracies.items()])
    client.log_artifact(run_id, str(case.comparison_folder / REPORT))
    _log_dataset(client, case, run_id, "training")
    verdicts = [verdict.text for verdict in comparison.verdicts]
    page = run_page(comparison, verdicts, version, outcome)
    client.set_tag(run_id, _NOTE, page)


def _log_dataset(client: MlflowClient, case: Candidate, run_id: str, context: str) -> None:
    profile = read_manifest(case.dataset).examples
    log_dataset(client, run_id, case.lineage.dataset_source, case.lineage.dataset, context, profile)
