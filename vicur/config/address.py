"""Addresses in configurations."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

S3_ADDRESS = r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?"
"""What an address on S3 looks like: ``s3://bucket/prefix``."""
DATASET_HASH = r"[0-9a-f]{32}\.dir"
"""What DVC's hash of a folder looks like."""


def _address(text: str) -> str:
    if not re.fullmatch(S3_ADDRESS, text):
        raise ValueError("is no address on S3: write s3://bucket/prefix")
    return text


def http_address(text: str, example: str, key: str) -> str:
    """``text``, where it is the address of an API and nothing more.

    Args:
        text: what was given.
        example: what an address looks like there.
        key: variable of the environment that a key belongs into.

    Raises:
        ValueError: where it is not.
    """
    try:
        parts = urlsplit(text)
        # Reading a port is what checks it; blanks are left to whoever sends the request.
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", text)
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"is no address of an API, such as {example}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"holds more than an address: a key belongs into the variable {key}")
    return text


def folder_hash(text: str) -> str:
    """``text``, where it is DVC's hash of a folder.

    Raises:
        ValueError: where it is not.
    """
    if not re.fullmatch(DATASET_HASH, text):
        raise ValueError("is no hash of a folder as DVC writes it: 32 digits of 0-9a-f, then .dir")
    return text


S3Address = Annotated[str, AfterValidator(_address)]
"""An address on S3, ``s3://bucket/prefix``."""
DatasetHash = Annotated[str, AfterValidator(folder_hash)]
"""DVC's hash of a folder, as in ``md5:`` of a ``.dvc`` file."""
