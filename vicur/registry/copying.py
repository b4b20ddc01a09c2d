"""Copy a version to another registered model of the same server, such as from staging to production.

A copy moves no bytes: it is a version of the same logged model, and so has the same provenance and verdict. MLflow shows which version
it was copied from. A model never has two versions of the same content, so repeating a copy returns the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.registry.pages import with_moves
from vicur.registry.uploads import ensure_registered_model
from vicur.registry.versions import Version, find_version, model_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

_IDENTITY = ("vicur.checkpoint", "vicur.method", "vicur.dataset", "vicur.cues", "vicur.answering")


def copy_of(client: MlflowClient, version: Version, name: str) -> Version | None:
    """Return the version of the registered model ``name`` with the content of ``version``, or ``None`` if it has none.

    Raises:
        VicurError: if the version has no record of its content.
    """
    if name == version.model:
        return version
    return find_version(client, name, identity_of(client, version), version.tags)


def identity_of(client: MlflowClient, version: Version) -> dict[str, str]:
    """Return the tags that identify the content of a version: on its logged model, or on itself if an earlier release registered it.

    Raises:
        VicurError: if it has none.
    """
    own: Mapping[str, str] = {} if version.model_id is None else model_tags(client, version.model_id)
    identity = {key: value for key, value in {**version.tags, **own}.items() if key in _IDENTITY}
    if "vicur.checkpoint" not in identity:
        raise VicurError(
            "has no checksum of its checkpoint, so a copy could not be recognised.",
            where=str(version),
            remedy="Register the student with vicur register.",
        )
    return identity


def copy_version(client: MlflowClient, version: Version, name: str) -> Version:
    """Copy a version to the registered model ``name``, which is created if it does not exist, or return the existing copy."""
    existing = copy_of(client, version, name)
    if existing is not None:
        return existing
    ensure_registered_model(client, name)
    entity = client.get_model_version(version.model, version.number)
    # As MLflow's copy_model_version, but in one request with a description: the moves in that of the original are not those of the copy.
    created = client.create_model_version(
        name,
        f"models:/{version.model}/{version.number}",
        entity.run_id,
        tags=dict(version.tags),
        description=f"{with_moves(entity.description or '', [])}\n- Copied from {version.model} version {version.number}",
    )
    copy = Version.of(created, client)
    # Another process may have copied it meanwhile. The lower number wins in both processes.
    first = copy_of(client, version, name)
    if first is None or first.number == copy.number:
        return copy
    client.delete_model_version(name, copy.number)
    return first
