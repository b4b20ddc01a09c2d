"""What becomes of a test for which something is missing on the machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skips the test that asks, and fails it where no test may be skipped (``CI``).

    Args:
        what: what is missing, and where to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
