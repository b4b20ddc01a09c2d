"""Model versions: what MLflow knows about one, and how it is found by its number, an alias or its content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vicur.errors import VicurError
from vicur.tracking.mlflow import public_uri
from vicur.wording import listed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as Entity

CANDIDATE = "candidate"
CHAMPION = "champion"
PREVIOUS = "previous"
READY: Literal["READY"] = "READY"
_PAGE = 200


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
        return f"model {self.model}, version {self.number}" if self.number else f"logged model {self.model_id}"

    @classmethod
    def to_be(cls, model_id: str) -> Version:
        """Return a stand-in for the version that a logged model will be, to read and write its files."""
        return cls(model="", number="", status="", tags={}, aliases=(), model_id=model_id)

    @classmethod
    def of(cls, entity: Entity, client: MlflowClient) -> Version:
        """Convert MLflow's entity."""
        return cls(
            model=str(entity.name),
            number=str(entity.version),
            status=str(entity.status),
            tags=dict(entity.tags),
            aliases=tuple(sorted(entity.aliases)),
            model_id=_model_id(client, entity),
        )


def _model_id(client: MlflowClient, entity: Entity) -> str | None:
    # MLflow returns the id only as part of the source, and for a copy the source is the version that was copied.
    source = str(entity.source or "")
    if match := re.fullmatch(r"models:/(m-[0-9a-f]+)", source):
        return match[1]
    if not source.startswith("models:/"):
        return None
    # That version may have been deleted since, but the copy still knows where the files are.
    files = client.get_model_version_download_uri(str(entity.name), str(entity.version))
    found = re.search(r"/(m-[0-9a-f]{32})/artifacts/?$", str(files))
    return found[1] if found else None


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
        pages += (Version.of(entity, client) for entity in page)
        token = page.token
        if not token:
            break
    ready = sorted((v for v in pages if v.status == READY), key=lambda version: int(version.number))
    return next((version for version in ready if _has_identity(client, version, identity)), None)


def _has_identity(client: MlflowClient, version: Version, identity: Mapping[str, str]) -> bool:
    if identity.items() <= version.tags.items():
        return True
    return version.model_id is not None and identity.items() <= model_tags(client, version.model_id).items()


def model_tags(client: MlflowClient, model_id: str) -> Mapping[str, str]:
    """Return the tags of a logged model; none if it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_logged_model(model_id).tags)
    except MlflowException as error:
        # Its files may have been deleted, although the version was not.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return {}


def version_with_alias(client: MlflowClient, name: str, alias: str) -> Version | None:
    """Return the version that an alias points to, or ``None`` if the alias or the model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return Version.of(client.get_model_version_by_alias(name, alias), client)
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
            Version.of(client.get_model_version(name, version), client)
            if version.isdecimal() and len(version) < 10
            else None
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
    if result.status != READY:
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
        found += (client.get_model_version(name, str(each.version)) for each in page if each.status == READY)
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
