"""The run that a student comes from, on the server that it is registered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicur.registry.lineage import Lineage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def training_run(client: MlflowClient, lineage: Lineage) -> Run | None:
    """The run that trained the student; none where this server does not have it (any more)."""
    from mlflow.exceptions import MlflowException

    if not lineage.training_run:
        return None
    try:
        run = client.get_run(lineage.training_run)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def link_to_training(client: MlflowClient, lineage: Lineage) -> str | None:
    """Address of that run's page, relative to MLflow's."""
    run = training_run(client, lineage)
    return None if run is None else f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
