"""Small JSON files next to a version's model: read and written without its weights.

They belong to the logged model of the version, which all copies of the version share.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.registry.versions import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_MAX_BYTES = 16 << 20


def write_model_file(client: MlflowClient, version: Version, name: str, text: str) -> None:
    """Write a file next to the model of a version, and replace an earlier one.

    Raises:
        VicurError: if the version has no logged model.
    """
    if version.model_id is None:
        raise _no_model(version)
    _write(_repository(client, version.model_id), name, text)


def write_if_missing(client: MlflowClient, model_id: str, name: str, text: str) -> None:
    """Write a file next to a logged model, unless there is one of that name."""
    repository = _repository(client, model_id)
    if name not in {each.path for each in repository.list_artifacts()}:
        _write(repository, name, text)


def _write(repository: ArtifactRepository, name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8")
        repository.log_artifact(str(file))


def read_model_file(client: MlflowClient, version: Version, name: str) -> str | None:
    """Return the text of a file next to the model of a version, or ``None`` if it does not exist.

    Raises:
        VicurError: if it cannot be read, or is implausibly large.
    """
    from mlflow.exceptions import MlflowException

    if version.model_id is None:
        return None
    where = f"{version}, {name}"
    try:
        repository = _repository(client, version.model_id)
        files = {each.path: each for each in repository.list_artifacts()}
        if name not in files:
            return None
        if (files[name].file_size or 0) > _MAX_BYTES:
            raise VicurError(
                f"has {files[name].file_size} bytes, more than the limit of {_MAX_BYTES}.",
                where=where,
                remedy="Register the student again.",
            )
        with tempfile.TemporaryDirectory() as folder:
            file = repository.download_artifacts(name, folder)
            return Path(file).read_text(encoding="utf-8")
    except MlflowException as error:
        # The logged model may have been deleted, although the version was not.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=where, remedy="Check the artifact store."
        ) from error


def file_names(client: MlflowClient, version: Version, folder: str | None = None) -> set[str] | None:
    """Return the names in a folder next to the model of a version, or ``None`` if the version has no logged model any more."""
    from mlflow.exceptions import MlflowException

    if version.model_id is None:
        return None
    try:
        return {Path(each.path).name for each in _repository(client, version.model_id).list_artifacts(folder)}
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def model_file_sizes(client: MlflowClient, version: Version, folder: str) -> dict[str, int]:
    """Return the size in bytes of each file in a folder next to the model of a version."""
    if version.model_id is None:
        return {}
    listed = _repository(client, version.model_id).list_artifacts(folder)
    return {Path(each.path).name: each.file_size or 0 for each in listed if not each.is_dir}


def add_model_files(client: MlflowClient, version: Version, files: Iterable[Path], folder: str) -> None:
    """Write files into a folder next to the model of a version, and replace earlier ones."""
    if version.model_id is None:
        raise _no_model(version)
    for file in files:
        _repository(client, version.model_id).log_artifact(str(file), folder)


def _no_model(version: Version) -> VicurError:
    return VicurError(
        "has no logged model, so nothing can be stored with it.",
        where=str(version),
        remedy="Register the student with vicur register.",
    )


def _repository(client: MlflowClient, model_id: str) -> ArtifactRepository:
    # By the address of the model's artifacts: MLflow's client caches repositories by the id alone, and takes models:/m-.../FILE for a
    # registered model of that name.
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = client.get_logged_model(model_id).artifact_location
    return get_artifact_repository(location, tracking_uri=client.tracking_uri)
