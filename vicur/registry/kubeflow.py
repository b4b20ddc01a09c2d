"""List the versions of a registered model in a Kubeflow Model Registry, the one that Kubeflow's own UI shows.

MLflow holds the models and decides on the champion. :func:`list_in_kubeflow` copies what MLflow says, under the same names and numbers:
description, provenance, the address of the files, and the aliases as labels. It compares all versions, so repeating it completes a
listing that was interrupted, or that missed a change of the champion.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur.config.registry import KubeflowRegistryConfig
from vicur.errors import VicurError
from vicur.processes.retrying import RetryPolicy, retried
from vicur.redaction import redacted
from vicur.registry.kubeflow_api import require_client, run_requests
from vicur.registry.provenance import provenance_of
from vicur.registry.versions import CANDIDATE, CHAMPION, PREVIOUS, Version, entities_of
from vicur.tracking.mlflow import mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entity
    from model_registry.core import ModelRegistryAPIClient
    from model_registry.types import ModelArtifact, ModelVersion

log = logging.getLogger(__name__)

_MODEL_ID = "vicur.mlflow_model"
_OURS = "vicur."
_EARLIER_MOVES = "vicur.audit"
# Its UI shows a property without a value as a label.
_LABELS = (CHAMPION, CANDIDATE, PREVIOUS)
# Some releases of the registry index values in PostgreSQL, which refuses long ones.
_LONGEST_VALUE = 1000
_PAGE = 100
_RETRIES = RetryPolicy(retries=3, first=2.0, longest=10.0)


@dataclass(frozen=True)
class _Listed:
    """A version as it is to be listed."""

    number: str
    description: str | None
    properties: Mapping[str, str]
    uri: str
    run_id: str
    run_name: str


def list_in_kubeflow(config: KubeflowRegistryConfig, client: MlflowClient, name: str) -> int:
    """List all versions of a registered model of MLflow, if the configuration has the address of a Kubeflow Model Registry.

    Missing versions are created and changed ones updated. Versions that were deleted from MLflow are archived. Properties that someone
    added in Kubeflow stay.

    Returns:
        The number of versions that were created, updated or archived.

    Raises:
        VicurError: if the registry cannot be reached or refuses a request, or lists a version of another MLflow under the same name.
    """
    url = config.url
    if url is None:
        return 0
    require_client(url)
    with mlflow_errors(client.tracking_uri):
        model = client.get_registered_model(name)
        wanted = [_listed(client, entity) for entity in entities_of(client, name)]

    def attempt() -> int:
        return run_requests(url, lambda api: _list(api, config, name, str(model.description or ""), wanted))

    changed = retried(attempt, _RETRIES, lambda line: log.warning("Kubeflow Model Registry: %s", line))
    log.info("%s versions of %s changed in the Kubeflow Model Registry at %s.", changed, name, url)
    return changed


def _listed(client: MlflowClient, entity: Entity) -> _Listed:
    version = Version.of(entity, client)
    # A version without a logged model is one of an earlier release or of other software, and has its tags only.
    origin = {} if version.model_id is None else _origin(client, version)
    properties = {key: _short(value) for key, value in {**origin, **version.tags}.items() if _is_provenance(key)}
    if version.model_id is not None:
        properties[_MODEL_ID] = version.model_id
    run_id = str(entity.run_id or "")
    return _Listed(
        number=version.number,
        description=entity.description or None,
        properties=properties | {alias: "" for alias in version.aliases if alias in _LABELS},
        uri=redacted(str(client.get_model_version_download_uri(version.model, version.number))),
        run_id=run_id,
        run_name=_run_name(client, run_id),
    )


def _origin(client: MlflowClient, version: Version) -> Mapping[str, str]:
    try:
        return provenance_of(client, version).lineage.tags()
    except VicurError as error:
        # One damaged version must not keep the others from the list.
        log.warning("Listed without its origin: %s", error)
        return {}


def _is_provenance(tag: str) -> bool:
    # Releases before 0.2 added a tag for each move of the champion.
    return tag.startswith(_OURS) and not tag.startswith(_EARLIER_MOVES)


def _short(value: str) -> str:
    value = redacted(value)
    # A value that is empty would be shown as a label.
    return (value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 1]}…") or "-"


def _run_name(client: MlflowClient, run_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run_id).info.run_name or run_id) if run_id else ""
    except MlflowException:
        # Someone deleted the run. Its version remains.
        return run_id


async def _list(
    api: ModelRegistryAPIClient,
    config: KubeflowRegistryConfig,
    name: str,
    description: str,
    wanted: list[_Listed],
) -> int:
    from model_registry.types import RegisteredModel

    model = await api.get_registered_model_by_params(name)
    if model is None:
        model = await api.upsert_registered_model(
            RegisteredModel(name=name, owner=config.owner, description=description)
        )
    assert model.id is not None
    present = {version.name: version for version in await _versions(api, model.id)}
    changed = 0
    for version in wanted:
        changed += await _list_version(api, config, model.id, name, version, present.pop(version.number, None))
    for version in present.values():
        changed += await _archive(api, version)
    return changed


async def _versions(api: ModelRegistryAPIClient, model: str) -> list[ModelVersion]:
    from model_registry.types import ListOptions

    options, found = ListOptions(limit=_PAGE), []
    while True:
        found += await api.get_model_versions(model, options)
        # The client writes the token of the next page into the options.
        if not options.next_page_token:
            return found


async def _list_version(
    api: ModelRegistryAPIClient,
    config: KubeflowRegistryConfig,
    model: str,
    name: str,
    wanted: _Listed,
    present: ModelVersion | None,
) -> bool:
    from model_registry.types import ModelVersion

    before = None if present is None else _compared(present)
    if present is None:
        present = ModelVersion(name=wanted.number, author=config.owner)
    known = dict(present.custom_properties or {})
    if known.get(_MODEL_ID, wanted.properties.get(_MODEL_ID)) != wanted.properties.get(_MODEL_ID):
        raise VicurError(
            f"version {wanted.number} of {name} is another model there ({known[_MODEL_ID]}), from another MLflow server.",
            where=f"registry.kubeflow.url, {config.url}",
            remedy="Choose another name with registry.model, or another registry.",
        )
    kept = {key: value for key, value in known.items() if not key.startswith(_OURS) and key not in _LABELS}
    present.custom_properties = kept | dict(wanted.properties)
    present.description = wanted.description
    present.state = type(present.state).LIVE
    changed = _compared(present) != before
    if changed:
        present = await api.upsert_model_version(present, model)
    assert present.id is not None
    # A version has no files yet if its listing was interrupted, and other files if MLflow's store has moved.
    artifacts = await api.get_model_artifacts(present.id)
    if not artifacts:
        await api.upsert_model_version_artifact(_artifact(name, wanted), present.id)
    elif artifacts[0].uri != wanted.uri:
        artifacts[0].uri = wanted.uri
        await api.upsert_model_artifact(artifacts[0])
    else:
        return changed
    return True


def _artifact(name: str, wanted: _Listed) -> ModelArtifact:
    import mlflow
    from model_registry.types import ModelArtifact

    return ModelArtifact(
        name=f"{name}/{wanted.number}",
        uri=wanted.uri,
        model_format_name="mlflow",
        model_format_version=mlflow.__version__.split(".")[0],
        model_source_kind="mlflow",
        model_source_class="run",
        model_source_id=wanted.run_id or None,
        model_source_name=wanted.run_name or None,
    )


async def _archive(api: ModelRegistryAPIClient, version: ModelVersion) -> bool:
    known = dict(version.custom_properties or {})
    archived = type(version.state).ARCHIVED
    if _MODEL_ID not in known or version.state == archived:
        return False
    version.custom_properties = {key: value for key, value in known.items() if key not in _LABELS}
    version.state = archived
    await api.upsert_model_version(version)
    return True


def _compared(version: ModelVersion) -> tuple[Any, ...]:
    return dict(version.custom_properties or {}), version.description, version.state
