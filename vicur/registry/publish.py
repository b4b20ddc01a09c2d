"""Write a version's description, its metrics and the description of the pipeline run to MLflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vicur.data import read_manifest
from vicur.evaluation.compare import REPORT
from vicur.registry.candidate import Candidate
from vicur.registry.decision import Decision
from vicur.registry.gate import GateOutcome
from vicur.registry.history import history_of
from vicur.registry.pages import run_page, version_page, with_moves
from vicur.registry.source import link_to_training
from vicur.registry.versions import Version
from vicur.tracking.records import log_dataset, log_model_output, log_tags
from vicur.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOTE = "mlflow.note.content"


def publish(client: MlflowClient, version: Version, candidate: Candidate, decision: Decision, tracker: Tracker) -> None:
    """Publish a version. ``tracker`` is that of the registration stage; its parent is the run of the pipeline."""
    outcome, against = decision.outcome, decision.inputs.champion
    page = version_page(
        candidate.lineage,
        candidate.comparison,
        outcome,
        link_to_training(client, candidate.lineage),
        None if against is None else (against.version, dict(against.slices)),
    )
    moves = history_of(client, version.model).of(version.number)
    client.update_model_version(version.model, version.number, with_moves(page, moves))
    # Only a pipeline has a parent run to publish to.
    tracker.params({"model": version.model, "method": candidate.lineage.method})
    tracker.tags({**candidate.lineage.tags(), **_version_tag(version)})
    if tracker.run_id is not None:
        _log_figures_of_model(client, version, candidate, tracker.run_id)
    if tracker.parent_run_id is not None:
        _log_pipeline(client, version, candidate, outcome, tracker.parent_run_id)


def _log_figures_of_model(client: MlflowClient, version: Version, candidate: Candidate, run_id: str) -> None:
    """Log accuracies of the version with the dataset that they were measured on."""
    from mlflow.entities import Metric

    name, digest = candidate.lineage.dataset_source, candidate.lineage.dataset.removesuffix(".dir")
    _log_dataset(client, candidate, run_id, "evaluation")
    figures = {f"{split}/accuracy": each.accuracy for split, each in candidate.evaluation.metrics.splits.items()}
    now = int(time.time() * 1000)
    # Metrics with a model id and a dataset appear on the page of the model.
    rows = [Metric(key, value, now, 0, version.model_id, name, digest) for key, value in figures.items()]
    logged = client.get_logged_model(version.model_id).metrics if version.model_id is not None else None
    # A repeated registration would list them again.
    known = {(each.key, each.value, each.dataset_digest) for each in logged or ()}
    client.log_batch(run_id, [each for each in rows if (each.key, each.value, each.dataset_digest) not in known])


def _log_pipeline(
    client: MlflowClient, version: Version, candidate: Candidate, outcome: GateOutcome, run_id: str
) -> None:
    """Log the model, headline metrics, accuracies of base and students, report, dataset and verdicts to the run of the pipeline."""
    from mlflow.entities import Metric

    comparison = candidate.comparison
    accuracies = {f"base/{split}/accuracy": value for split, value in comparison.base_accuracy.items()}
    for method, student in comparison.students.items():
        accuracies |= {f"{method}/{split}/accuracy": each.accuracy for split, each in student.splits.items()}
    on_test = candidate.on_test
    # MLflow lists the columns of its table of runs in alphabetical order.
    headline = {
        "accuracy": on_test.accuracy,
        "accuracy_base": on_test.base_accuracy,
        "accuracy_gain": on_test.difference.mean,
        "accuracy_gain_low": on_test.difference.low,
    }
    now = int(time.time() * 1000)
    client.log_batch(run_id, [Metric(key, value, now, 0) for key, value in (headline | accuracies).items()])
    if version.model_id is not None:
        log_model_output(client, run_id, version.model_id)
    client.log_artifact(run_id, str(candidate.comparison_folder / REPORT))
    _log_dataset(client, candidate, run_id, "training")
    verdicts = [verdict.text for verdict in comparison.verdicts]
    # MLflow shows the content of this tag as the description of the run.
    page = run_page(comparison, verdicts, version, outcome)
    # The table of runs shows a model only with the run that trained it, so the pipeline's has the version as a tag.
    log_tags(client, run_id, {_NOTE: page, **_version_tag(version)})


def _version_tag(version: Version) -> dict[str, str]:
    return {"vicur.model_version": f"{version.model}/{version.number}"}


def _log_dataset(client: MlflowClient, candidate: Candidate, run_id: str, context: str) -> None:
    examples = read_manifest(candidate.dataset).examples
    log_dataset(client, run_id, candidate.lineage.dataset_source, candidate.lineage.dataset, context, examples)
