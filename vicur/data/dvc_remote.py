"""Finds the hash of a ``.dvc`` file and the remote that the repository's ``.dvc/config`` names, so that fetching needs no DVC."""

from __future__ import annotations

import os
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

from vicur.config.data import PinnedConfig
from vicur.data.pin import read_pin
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.storage.s3 import is_s3

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def pinned_by(dvc_file: Path) -> PinnedConfig:
    """Return the folder that a ``.dvc`` file names, at the default remote of its repository.

    Raises:
        VicurError: if the file cannot be read, or the repository has no remote, or one that is neither on S3 nor a folder.
    """
    folder_hash = read_pin(dvc_file).md5
    home = _dvc_folder(dvc_file)
    settings = ConfigParser(interpolation=None)
    where = home / "config" if home else dvc_file.resolve().parent / ".dvc" / "config"
    try:
        # config.local overrides config.
        settings.read([home / "config", home / "config.local"] if home else [], encoding="utf-8")
    except (ConfigError, UnicodeDecodeError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(where), remedy="Correct it, see dvc config."
        ) from error
    name = settings.get("core", "remote", fallback="").strip().strip("'\"")
    section = next((each for each in settings.sections() if each.strip("'") == f'remote "{name}"'), None)
    if not name or section is None:
        problem = f"has no remote {name!r}" if name else "names no default remote"
        raise VicurError(
            f"{problem}, so that neither dvc pull nor this command knows where {folder_hash} of {dvc_file.name} is stored.",
            where=str(where),
            remedy="The digit scenes of this repository are stored nowhere: vicur data prepare generates them, with the hash in data.dvc. "
            f"Fetch other data with vicur data fetch {folder_hash}@s3://BUCKET/DVC, or name their remote: "
            "dvc remote add --default team s3://BUCKET/DVC.",
        )
    remote = settings.get(section, "url", fallback="")
    endpoint = settings.get(section, "endpointurl", fallback="")
    if is_s3(remote) and endpoint and not any(os.environ.get(variable) for variable in _ENDPOINTS):
        raise VicurError(
            f"has the endpoint {redacted(endpoint)} for remote {name!r}, which only DVC reads.",
            where=str(where),
            remedy=f"Set {_ENDPOINTS[0]}={redacted(endpoint)}.",
        )
    if not is_s3(remote):
        if "://" in remote or not remote:
            raise VicurError(
                f"has the remote {redacted(remote)!r}, which is neither on S3 nor a folder.",
                where=str(where),
                remedy=f"Fetch it with DVC: dvc pull {dvc_file.name}.",
            )
        # A relative path is relative to .dvc/.
        remote = str((where.parent / remote).resolve())
    return PinnedConfig(hash=folder_hash, remote=remote)


def _dvc_folder(dvc_file: Path) -> Path | None:
    """Return the ``.dvc`` folder of the repository that a file belongs to."""
    return next((each / ".dvc" for each in dvc_file.resolve().parents if (each / ".dvc").is_dir()), None)
