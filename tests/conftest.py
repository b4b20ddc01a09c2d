"""Fixtures of all tests, and the check that they test the code of one clone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.moto_s3 import s3_server
from vicur.checkout import require_one_checkout
from vicur.errors import VicurError


def pytest_configure() -> None:
    """Refuse to test packages of two clones together."""
    try:
        require_one_checkout()
    except VicurError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Address of an S3 server."""
    with s3_server() as address:
        yield address
