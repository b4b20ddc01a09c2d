"""Champions and the outcome of runs, from MLflow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vicur_pipelines.status.report import ModelRow, RunRow

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.registry.history import existing
from vicur.registry.tags import verdict_state
from vicur.registry.versions import CANDIDATE, CHAMPION
from vicur.tracking.mlflow import connect, mlflow_errors, sqlite_file
from vicur.tracking.runs import RUN_TAG, STAGE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 100


class Tracking:
    """An MLflow server. It is contacted once, by the first method that is called."""

    def __init__(self, uri: str | None) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None

    def models(self) -> list[ModelRow]:
        """Return the registered models that have a champion or a candidate.

        Raises:
            VicurError: if no server is configured, or it does not answer.
        """
        client = self._connected()
        with mlflow_errors(client.tracking_uri):
            models = client.search_registered_models(max_results=_PAGE)
            found = [(str(model.name), {k: str(v) for k, v in model.aliases.items()}) for model in models]
            return [_model(client, name, aliases) for name, aliases in found if aliases.keys() & {CHAMPION, CANDIDATE}]

    def with_outcomes(self, runs: list[RunRow]) -> list[RunRow]:
        """Return runs with their status in MLflow, as far as that is known."""
        try:
            client = self._connected()
            with mlflow_errors(client.tracking_uri):
                outcomes = _outcomes(client)
        except VicurError:
            # Reported with the models.
            return runs
        return [replace(run, mlflow=outcomes.get(run.run_id, "")) for run in runs]

    def _connected(self) -> MlflowClient:
        if self._client is None:
            uri = (self._uri or "").strip()
            if not uri:
                raise VicurError(
                    "no MLflow server is configured.", remedy="Set MLFLOW_TRACKING_URI or give --tracking-uri."
                )
            if sqlite_file(uri) is not None:
                raise VicurError(
                    f"{uri} is a file, which has the runs of this machine only.",
                    remedy="Set MLFLOW_TRACKING_URI or give --tracking-uri with the address of the server that the cluster uses.",
                )
            self._client = connect(TrackingConfig(uri=uri))
        return self._client


def _model(client: MlflowClient, name: str, aliases: dict[str, str]) -> ModelRow:
    champion = aliases.get(CHAMPION, "")
    # The version that the alias named may have been deleted in the meantime.
    version = existing(client, name, champion) if champion else None
    created = client.get_model_version(name, champion).creation_timestamp if version is not None else None
    return ModelRow(
        name,
        champion if version is not None else "",
        aliases.get(CANDIDATE, ""),
        gate=verdict_state(version.tags) if version is not None else "",
        since=f"{datetime.fromtimestamp(created / 1000, UTC):%Y-%m-%d %H:%M}" if created else "",
    )


def _outcomes(client: MlflowClient) -> dict[str, str]:
    experiments = [str(each.experiment_id) for each in client.search_experiments(max_results=_PAGE)]
    found = client.search_runs(
        experiments, f"tags.`{STAGE_TAG}` = 'pipeline'", max_results=_PAGE, order_by=["attributes.start_time DESC"]
    )
    # Newest first: an older run of the same id, if there is one, does not count.
    return {run.data.tags[RUN_TAG]: str(run.info.status) for run in reversed(found) if RUN_TAG in run.data.tags}
