"""Addresses in configurations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

S3_ADDRESS = r"^s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?$"
"""What an address on S3 looks like: ``s3://bucket/prefix``."""

DATASET_HASH = r"^[0-9a-f]{32}\.dir$"
"""What DVC's hash of a folder looks like."""

DatasetHash = Annotated[str, Field(pattern=DATASET_HASH)]
"""DVC's hash of a folder, as in ``md5:`` of a ``.dvc`` file."""
