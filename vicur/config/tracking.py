"""Where a run is tracked."""

from __future__ import annotations

from pydantic import field_validator

from vicur.config.section import Section
from vicur.redaction import redacted


class TrackingConfig(Section):
    """MLflow's address and experiment."""

    uri: str | None = None
    """MLflow's tracking URI. Left out: ``MLFLOW_TRACKING_URI``, else a store of the project's own in ``mlflow/`` (SQLite and a folder)."""
    experiment: str = "vicur"
    """Experiment that runs are filed under, unless the platform has started a run already."""

    @field_validator("uri")
    @classmethod
    def _holds_no_secret(cls, uri: str | None) -> str | None:
        # A configuration is written to run folders, packages and logs.
        if uri is not None and redacted(uri) != uri:
            raise ValueError(
                "holds a password or a token: leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return uri
