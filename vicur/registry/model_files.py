"""Small JSON files next to a version's model: read and written without its weights.

They belong to the logged model of the version, which all copies of the version share.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.registry.versions import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MAX_BYTES = 16 << 20


def write_model_file(client: MlflowClient, version: Version, name: str, text: str) -> None:
    """Write a file next to the model of a version, and replace an earlier one.

    Raises:
        VicurError: if the version has no logged model.
    """
    if version.model_id is None:
        raise VicurError(
            "has no logged model, so nothing can be stored with it.",
            where=str(version),
            remedy="Register the student with vicur register.",
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8")
        client.log_model_artifact(version.model_id, str(file))


def read_model_file(client: MlflowClient, version: Version, name: str) -> str | None:
    """Return the text of a file next to the model of a version, or ``None`` if there is no such file.

    Raises:
        VicurError: if it cannot be read, or is implausibly large.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    if version.model_id is None:
        return None
    where = f"{version}, {name}"
    try:
        files = {each.path: each for each in client.list_logged_model_artifacts(version.model_id)}
        if name not in files:
            return None
        if (files[name].file_size or 0) > _MAX_BYTES:
            raise VicurError(
                f"has {files[name].file_size} bytes, more than the limit of {_MAX_BYTES}.",
                where=where,
                remedy="Register the student again.",
            )
        # MLflow takes models:/m-.../FILE for a registered model of that name, so the address of the artifacts is needed.
        location = client.get_logged_model(version.model_id).artifact_location
        with tempfile.TemporaryDirectory() as folder:
            file = download_artifacts(
                artifact_uri=f"{location}/{name}", dst_path=folder, tracking_uri=client.tracking_uri
            )
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
