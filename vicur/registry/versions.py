"""Model versions: complete or absent, and one per student.

A version is created with all its tags in one request, after its files are uploaded and the model is marked ready. A
process that dies leaves at most files that no version refers to. The next attempt reuses them if they are complete, and
deletes their record if they are not. Registering the same student again returns its version.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vicur.errors import VicurError
from vicur.tracking.mlflow import public_uri
from vicur.tracking.records import log_model_output
from vicur.wording import listed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entity

log = logging.getLogger(__name__)

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"
_READY: Literal["READY"] = "READY"
_PAGE = 200
# A younger upload may still be running in another process.
_ABANDONED_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Version:
    """A version of a registered model, with sorted aliases."""

    model: str
    # MLflow's own entity has an integer or a string here, depending on the store.
    number: str
    status: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    model_id: str | None
    """The logged model of the version; ``None`` if it was created from other files."""

    def __str__(self) -> str:
        return f"model {self.model}, version {self.number}"

    @classmethod
    def of(cls, entity: Entity) -> Version:
        """Convert MLflow's entity."""
        # A tracking server returns the id only as part of the source.
        model_id = entity.model_id or (entity.source or "").rpartition("models:/")[2]
        return cls(
            model=str(entity.name),
            number=str(entity.version),
            status=str(entity.status),
            tags=dict(entity.tags),
            aliases=tuple(sorted(entity.aliases)),
            model_id=model_id if model_id.startswith("m-") else None,
        )


Pack = Callable[[str], Path]
"""Writes the MLflow model with the given model id and returns its folder."""


def find_version(
    client: MlflowClient, name: str, identity: Mapping[str, str], tags: Mapping[str, str] | None = None
) -> Version | None:
    """Return the first ready version of a registered model with all tags of ``identity``, itself or on its logged model.

    Args:
        tags: tags of the version itself. Those that ``identity`` has as well narrow the search.
    """
    searched = {key: value for key, value in identity.items() if tags is None or key in tags}
    filters = [f"name = '{name}'", *(f"tags.`{key}` = '{value}'" for key, value in searched.items())]
    pages: list[Version] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(" and ".join(filters), max_results=_PAGE, page_token=token)
        pages += map(Version.of, page)
        token = page.token
        if not token:
            break
    ready = sorted((v for v in pages if v.status == _READY), key=lambda version: int(version.number))
    return next((version for version in ready if _has_identity(client, version, identity)), None)


def _has_identity(client: MlflowClient, version: Version, identity: Mapping[str, str]) -> bool:
    if identity.items() <= version.tags.items():
        return True
    return version.model_id is not None and identity.items() <= _model_tags(client, version.model_id).items()


def _model_tags(client: MlflowClient, model_id: str) -> Mapping[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_logged_model(model_id).tags)
    except MlflowException as error:
        # Its files may have been deleted, although the version was not.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return {}


def create_version(
    client: MlflowClient,
    name: str,
    *,
    identity: Mapping[str, str],
    tags: Mapping[str, str],
    params: Mapping[str, str],
    run_id: str,
    label: str,
    description: str,
    pack: Pack,
) -> Version:
    """Upload a model and create a version of it. The registered model is created if it does not exist.

    Args:
        identity: tags of the logged model, which identify the student.
        tags: tags of the version.
        params: parameters to show with the model.
        run_id: run that the model is attributed to; the model belongs to the same experiment.
        label: name of the model in its experiment.
        description: Markdown for the version's page.
        pack: writes the model to upload.
    """
    ensure_registered_model(client, name)
    experiment = client.get_run(run_id).info.experiment_id
    model_id = _uploaded(client, experiment, identity) or _upload(
        client, experiment, label=label, run_id=run_id, tags=identity, params=params, pack=pack
    )
    created = Version.of(
        client.create_model_version(
            name, f"models:/{model_id}", run_id, tags=dict(tags), description=description, model_id=model_id
        )
    )
    # Another process may have registered the same student meanwhile. The lower number wins in both processes.
    first = find_version(client, name, identity, tags)
    if first is None or first.number == created.number:
        return created
    client.delete_model_version(name, created.number)
    return first


def _uploaded(client: MlflowClient, experiment: str, identity: Mapping[str, str]) -> str | None:
    """Return a complete upload of this student that never became a version, and delete records of broken uploads."""
    where = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    complete = None
    for model in client.search_logged_models([experiment], where):
        if str(model.status.value) == _READY:
            complete = complete or str(model.model_id)
        elif time.time() - model.last_updated_timestamp / 1000 > _ABANDONED_SECONDS:
            client.delete_logged_model(model.model_id)
    return complete


def _upload(
    client: MlflowClient,
    experiment: str,
    *,
    label: str,
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    pack: Pack,
) -> str:
    model = client.create_logged_model(experiment, label, run_id, dict(tags), dict(params), "student")
    with _removed_on_failure(client, model.model_id):
        client.log_model_artifacts(model.model_id, str(pack(model.model_id)))
        client.finalize_logged_model(model.model_id, _READY)
    log_model_output(client, run_id, model.model_id)
    return str(model.model_id)


@contextmanager
def _removed_on_failure(client: MlflowClient, model_id: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except BaseException:
        try:
            client.finalize_logged_model(model_id, "FAILED")
            client.delete_logged_model(model_id)
        except MlflowException as error:
            # The upload may have failed because the server is down. The record stays pending, and no version refers to it.
            log.warning("Could not delete the record of a failed upload: %s", str(error).splitlines()[0])
        raise


def ensure_registered_model(client: MlflowClient, name: str) -> None:
    """Create the registered model with a description. The description of an existing model is left as it is."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_about(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _about(name: str) -> str:
    return f"""Students distilled by ViCuR. `{CHAMPION}` is the version in use, `{CANDIDATE}` the last registered version, \
and `{PREVIOUS}` the version that a rollback returns to.

```python
import mlflow

student = mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")
student.predict([{{"question": "What is the sum of the left column?", "image": "scene.png"}}])
```

`vicur promote` and `vicur rollback` move `{CHAMPION}` manually. The tags `vicur.move` list all moves, and `vicur lineage` where a version \
comes from."""


def version_with_alias(client: MlflowClient, name: str, alias: str) -> Version | None:
    """Return the version that an alias points to, or ``None`` if the alias or the model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return Version.of(client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def get_version(client: MlflowClient, name: str, version: str) -> Version:
    """Return a version by its number or alias.

    Raises:
        VicurError: if the version does not exist or is not ready.
    """
    from mlflow.exceptions import MlflowException

    by_number = None
    try:
        # Longer numbers overflow the integer column of some stores.
        by_number = (
            Version.of(client.get_model_version(name, version)) if version.isdecimal() and len(version) < 10 else None
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    result = by_number or version_with_alias(client, name, version)
    if result is None:
        numbers = _numbers(client, name)
        raise VicurError(
            f"has no version or alias {version!r}.",
            where=f"model {name}, {public_uri(client)}",
            remedy=f"Choose one of its versions: {listed(numbers, shown=20)}." if numbers else "It has no versions.",
        )
    if result.status != _READY:
        raise VicurError(
            f"is not ready (status {result.status}).", where=str(result), remedy="Register the student again."
        )
    return result


def entities_of(client: MlflowClient, name: str) -> list[Entity]:
    """Return MLflow's own records of the ready versions of a registered model, the oldest first."""
    found: list[Entity] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=_PAGE, page_token=token)
        # A search does not return aliases.
        found += (client.get_model_version(name, str(each.version)) for each in page if each.status == _READY)
        token = page.token
        if not token:
            return sorted(found, key=lambda each: int(each.version))


def _numbers(client: MlflowClient, name: str) -> list[str]:
    # A quote in the name would end the string in the filter.
    versions = client.search_model_versions(f"name = '{name}'") if "'" not in name else []
    return sorted((str(v.version) for v in versions), key=int)


def tag(client: MlflowClient, version: Version, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(version.model, version.number, key, value)
