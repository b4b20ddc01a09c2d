"""Validation of addresses and hashes in configurations."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

S3_ADDRESS = r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?"
DATASET_HASH = r"[0-9a-f]{32}\.dir"


def _address(text: str) -> str:
    if not re.fullmatch(S3_ADDRESS, text):
        raise ValueError("is not an S3 address: write s3://bucket/prefix")
    return text


def http_address(text: str, example: str, key: str) -> str:
    """Return ``text`` if it is the address of an HTTP API without credentials, query or fragment, or raise a ``ValueError``.

    The message shows an example, and the environment variable ``key`` for an API key.
    """
    try:
        parts = urlsplit(text)
        # Reading the port validates it. The HTTP client would accept spaces and fail later.
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", text)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"is not the address of an API, such as {example}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(f"contains more than an address: put an API key into the environment variable {key}")
    return text


def folder_hash(text: str) -> str:
    """Return ``text`` if it is DVC's hash of a folder, or raise a ``ValueError``."""
    if not re.fullmatch(DATASET_HASH, text):
        raise ValueError("is not DVC's hash of a folder: 32 digits of 0-9 and a-f, followed by .dir")
    return text


S3Address = Annotated[str, AfterValidator(_address)]
DatasetHash = Annotated[str, AfterValidator(folder_hash)]
