"""Give a version its weights that it refers to, if they are gone or should no longer be elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.registry.model_files import add_model_files, model_file_sizes, read_model_file
from vicur.registry.package import CHECKPOINT
from vicur.registry.versions import Version
from vicur.registry.weights import WEIGHTS, parse_reference

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_FOLDER = f"artifacts/{CHECKPOINT}"


def upload_missing_weights(client: MlflowClient, version: Version, student: Path, *, keep_references: bool) -> None:
    """Upload the weights of ``student`` to its version if the version only refers to them.

    Loading prefers the uploaded files, so that the reference can stay.

    Args:
        keep_references: upload only what is gone from the address, or has another content there.
    """
    text = read_model_file(client, version, WEIGHTS)
    if text is None:
        return
    reference = parse_reference(text, f"{version}, {WEIGHTS}")
    sizes = model_file_sizes(client, version, _FOLDER)
    wanted = [name for name, file in reference.files.items() if sizes.get(name) != file.bytes]
    if wanted and keep_references:
        try:
            wrong = reference.wrong()
            wanted = [name for name in wanted if name in wrong]
        except VicurError as error:
            log.warning("The weights of %s cannot be looked up, and are uploaded: %s", version, error)
    if wanted:
        log.info("Uploading %s to %s.", ", ".join(wanted), version)
        add_model_files(client, version, [student / name for name in wanted], _FOLDER)
