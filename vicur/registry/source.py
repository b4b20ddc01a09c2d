"""The run that trained a student, on the server that the student is registered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicur.registry.lineage import Lineage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def training_run(client: MlflowClient, lineage: Lineage) -> Run | None:
    """Return the run that trained the student, or ``None`` if this server does not have it."""
    from mlflow.exceptions import MlflowException

    if not lineage.training_run:
        return None
    try:
        run = client.get_run(lineage.training_run)
    except MlflowException as error:
        # The student may have been trained with another server, whose run ids may even have another form.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def link_to_training(client: MlflowClient, lineage: Lineage) -> str | None:
    """Return the address of that run's page, relative to the address of MLflow."""
    run = training_run(client, lineage)
    return None if run is None else f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
