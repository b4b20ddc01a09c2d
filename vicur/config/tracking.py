"""Where a run is tracked."""

from __future__ import annotations

from vicur.config.base import Section


class TrackingConfig(Section):
    """MLflow's address and experiment."""

    uri: str | None = None
    """MLflow's tracking URI. Left out: ``MLFLOW_TRACKING_URI``, else a store of the project's own in ``mlflow/`` (SQLite and a folder)."""
    experiment: str = "vicur"
    """Experiment that runs are filed under, unless the platform has started a run already."""
