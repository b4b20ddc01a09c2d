"""Addresses in configurations."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

S3_ADDRESS = r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?"
"""What an address on S3 looks like: ``s3://bucket/prefix``."""
DATASET_HASH = r"[0-9a-f]{32}\.dir"
"""What DVC's hash of a folder looks like."""


def _address(text: str) -> str:
    if not re.fullmatch(S3_ADDRESS, text):
        raise ValueError("is no address on S3: write s3://bucket/prefix")
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
