"""Addresses of versions on the command line: ``NAME/VERSION`` or ``NAME@ALIAS``, with or without MLflow's ``models:/``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.registry.versions import Version, get_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ADDRESS = re.compile(r"(?:models:/)?(?P<model>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")


def version_at(client: MlflowClient, address: str) -> Version:
    """Return the version at an address.

    Raises:
        VicurError: if it is not an address, or there is no such version.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise VicurError(
            "is not the address of a version.",
            where=address,
            remedy="Write NAME@ALIAS or NAME/VERSION, as in vicur@champion.",
        )
    return get_version(client, match["model"], match["alias"] or match["number"])
