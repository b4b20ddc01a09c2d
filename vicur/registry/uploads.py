"""Create versions: complete or absent, and one per student.

A version is created with all its tags in one request, after its files are uploaded and the model is marked ready. A
process that dies leaves at most files that no version refers to. The next attempt reuses them if they are complete, and
deletes their record if they are not. Registering the same student again returns its version.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.registry.versions import CANDIDATE, CHAMPION, PREVIOUS, READY, Version, find_version
from vicur.tracking.records import log_model_output

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

# A younger upload may still be running in another process.
_ABANDONED_SECONDS = 24 * 3600.0

Pack = Callable[[str], Path]
"""Writes the MLflow model with the given model id and returns its folder."""


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
    complete: Callable[[str], None] = lambda _: None,
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
        complete: called with the id of an upload that is reused, which may be of an earlier release and lack files.
    """
    ensure_registered_model(client, name)
    experiment = client.get_run(run_id).info.experiment_id
    model_id = _uploaded(client, experiment, identity)
    if model_id is None:
        model_id = _upload(client, experiment, label=label, run_id=run_id, tags=identity, params=params, pack=pack)
    else:
        complete(model_id)
    created = Version.of(
        client.create_model_version(
            name, f"models:/{model_id}", run_id, tags=dict(tags), description=description, model_id=model_id
        ),
        client,
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
        if str(model.status.value) == READY:
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
        client.finalize_logged_model(model.model_id, READY)
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
