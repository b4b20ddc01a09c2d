"""Write parameters, metrics, tags and datasets to any MLflow run, in batches that the server accepts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

# MLflow's REST API accepts at most 100 parameters and 100 tags in one log-batch request.
_ROWS = 100


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of nested mappings under dotted names. ``None`` is a leaf; an empty mapping has none."""
    leaves: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves += flattened(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters. One that the run has with another value keeps it; the new value becomes a tag ``vicur.changed.<name>``."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    def log_missing() -> dict[str, str]:
        known: dict[str, str] = client.get_run(run_id).data.params
        rows = [Param(key, value) for key, value in params.items() if key not in known]
        for start in range(0, len(rows), _ROWS):
            client.log_batch(run_id, params=rows[start : start + _ROWS])
        return known

    try:
        known = log_missing()
    except MlflowException as error:
        # A platform whose run this is may have logged a parameter of the same name in between.
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        known = log_missing()
    # Kubeflow Pipelines logs the inputs of a step as JSON, texts in quotes.
    changed = {key: value for key, value in params.items() if known.get(key, value) not in (value, json.dumps(value))}
    log_tags(client, run_id, {f"vicur.changed.{key}": value for key, value in changed.items()})


def log_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    from mlflow.entities import RunTag

    rows = [RunTag(key, value) for key, value in tags.items()]
    for start in range(0, len(rows), _ROWS):
        client.log_batch(run_id, tags=rows[start : start + _ROWS])


def log_metrics(client: MlflowClient, run_id: str, metrics: list[Metric]) -> None:
    """Log metrics in one request, which MLflow stores entirely or not at all."""
    client.log_batch(run_id, metrics=metrics)


def log_dataset(
    client: MlflowClient, run_id: str, name: str, dvc_hash: str, context: str, profile: Mapping[str, Any] | None
) -> None:
    """Record a dataset as an input of a run; see :meth:`vicur.tracking.tracker.Tracker.dataset`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = dvc_hash.removesuffix(".dir")
    dataset = Dataset(
        name, digest, "dvc", json.dumps({"md5": f"{digest}.dir"}), profile=json.dumps(dict(profile or {}))
    )
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])


def log_model_output(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Record a logged model as an output of a run. MLflow rejects the second record of the same model."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    def is_recorded() -> bool:
        outputs = client.get_run(run_id).outputs
        return outputs is not None and any(each.model_id == model_id for each in outputs.model_outputs)

    if is_recorded():
        return
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    except MlflowException:
        # Another process may have recorded it meanwhile.
        if not is_recorded():
            raise
