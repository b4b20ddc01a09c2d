"""Model versions: whole or absent, and one for each student.

A version is created in one request, tags included, after its files are uploaded and the model is marked ready. So a process
that dies leaves at most files that no version points to; the next attempt takes them over if they are whole, and removes
their record if they are not. The same student registered again finds its version.
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

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entity

log = logging.getLogger(__name__)

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"
_READY: Literal["READY"] = "READY"
_PAGE = 200
# An upload that is younger may still be going on in another process.
_ABANDONED_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Version:
    """A version of a registered model. MLflow's own entity has a number or a text for ``number``, as its store has it.

    Attributes:
        model: name of the registered model.
        number: its number.
        status: ``READY`` where it can be loaded.
        tags: its tags.
        aliases: sorted.
        model_id: the logged model that it is made of; ``None`` where it is made of something else.
    """

    model: str
    number: str
    status: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    model_id: str | None

    def __str__(self) -> str:
        return f"model {self.model}, version {self.number}"

    @classmethod
    def of(cls, entity: Entity) -> Version:
        """The version that MLflow speaks of."""
        # Through a server the id comes with the source alone.
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
"""Writes the MLflow model for a model id and returns its folder."""


def find_version(client: MlflowClient, name: str, identity: Mapping[str, str]) -> Version | None:
    """The first ready version of a registered model that carries all the tags of ``identity``."""
    filters = [f"name = '{name}'", *(f"tags.`{key}` = '{value}'" for key, value in identity.items())]
    found = map(Version.of, client.search_model_versions(" and ".join(filters), max_results=_PAGE))
    return min((v for v in found if v.status == _READY), key=lambda version: int(version.number), default=None)


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
    """Uploads a model and makes it a version.

    Args:
        client: MLflow's client.
        name: registered model; created where it does not exist.
        identity: tags by which the student is known.
        tags: all tags of the version, ``identity`` included.
        params: parameters to show with the model.
        run_id: run that the model comes from; it is filed under that run's experiment.
        label: name of the model in its experiment.
        description: Markdown for the version's page.
        pack: writes the model to upload.

    Returns:
        The version. Where another process registered the same student meanwhile, that one's.
    """
    ensure_registered_model(client, name)
    experiment = client.get_run(run_id).info.experiment_id
    model_id = _uploaded(client, experiment, identity) or _upload(
        client, experiment, label=label, run_id=run_id, tags=tags, params=params, pack=pack
    )
    mine = Version.of(
        client.create_model_version(
            name, f"models:/{model_id}", run_id, tags=dict(tags), description=description, model_id=model_id
        )
    )
    first = find_version(client, name, identity)
    if first is None or first.number == mine.number:
        return mine
    client.delete_model_version(name, mine.number)
    return first


def _uploaded(client: MlflowClient, experiment: str, identity: Mapping[str, str]) -> str | None:
    """A whole upload of this student that never became a version. Records of broken ones are removed."""
    where = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    whole = None
    for model in client.search_logged_models([experiment], where):
        if str(model.status.value) == _READY:
            whole = whole or str(model.model_id)
        elif time.time() - model.last_updated_timestamp / 1000 > _ABANDONED_SECONDS:
            client.delete_logged_model(model.model_id)
    return whole


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
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(experiment, label, run_id, dict(tags), dict(params), "student")
    with _removed_on_failure(client, model.model_id):
        client.log_model_artifacts(model.model_id, str(pack(model.model_id)))
        client.finalize_logged_model(model.model_id, _READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
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
            # The server may be what failed. What is left is marked as pending, and nothing points to it.
            log.warning("the record of a broken upload is left behind (%s)", str(error).splitlines()[0])
        raise


def ensure_registered_model(client: MlflowClient, name: str) -> None:
    """Creates the registered model with a description, unless it exists: people may have edited theirs."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_about(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _about(name: str) -> str:
    return f"""Students distilled by ViCuR. `{CHAMPION}` is the one in use, `{CANDIDATE}` the last one put through the gate, \
`{PREVIOUS}` what a rollback returns to.

```python
import mlflow

student = mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")
student.predict([{{"question": "What is the sum of the left column?", "image": "scene.png"}}])
```

`vicur promote` and `vicur rollback` move `{CHAMPION}` by hand; each move is recorded in the tags of the versions."""


def version_with_alias(client: MlflowClient, name: str, alias: str) -> Version | None:
    """The version that an alias points to; none where the alias, or the model, does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return Version.of(client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def get_version(client: MlflowClient, name: str, version: str) -> Version:
    """A version by its number or alias, as users name it.

    Raises:
        VicurError: where there is none, or its files are not whole.
    """
    from mlflow.exceptions import MlflowException

    found = None
    try:
        found = (
            Version.of(client.get_model_version(name, version)) if version.isdecimal() and len(version) < 10 else None
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    found = found or version_with_alias(client, name, version)
    if found is None:
        raise VicurError(
            f"has no version or alias {version!r}.",
            where=f"model {name}, {public_uri(client)}",
            remedy=f"It has {', '.join(_numbers(client, name)) or 'no versions'}.",
        )
    if found.status != _READY:
        raise VicurError(f"is not ready ({found.status}).", where=str(found), remedy="Register it again.")
    return found


def _numbers(client: MlflowClient, name: str) -> list[str]:
    # A quote in a name would end the filter's string.
    found = client.search_model_versions(f"name = '{name}'") if "'" not in name else []
    return sorted((str(v.version) for v in found), key=int)


def tag(client: MlflowClient, version: Version, tags: Mapping[str, str]) -> None:
    """Sets tags of a version."""
    for key, value in tags.items():
        client.set_model_version_tag(version.model, version.number, key, value)
