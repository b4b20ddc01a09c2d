"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.moto_s3 import s3_server


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Address of an S3 server."""
    with s3_server() as address:
        yield address
