"""Skip a test whose requirements this machine lacks, or fail it in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skip the calling test, or fail it if the variable ``CI`` is set.

    Args:
        what: what is missing, and how to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
