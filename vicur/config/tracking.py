"""Settings of experiment tracking with MLflow."""

from __future__ import annotations

from pydantic import field_validator

from vicur.config.section import Section
from vicur.redaction import redacted


class TrackingConfig(Section):
    """Tracking server and experiment."""

    uri: str | None = None
    """MLflow tracking URI. Default: ``MLFLOW_TRACKING_URI``, or else an embedded store in ``mlflow/`` (SQLite and a folder)."""
    experiment: str = "vicur"
    """Experiment of new runs. It is not used if the platform has already started a run."""

    @field_validator("uri")
    @classmethod
    def _holds_no_secret(cls, uri: str | None) -> str | None:
        # Configurations are stored in run folders, packages and logs.
        if uri is not None and redacted(uri) != uri:
            raise ValueError(
                "must not contain a password or a token: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
            )
        return uri
