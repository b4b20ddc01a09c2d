"""Conversion of safetensors' disk errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise ``OSError``, as for other files, if safetensors fails to write below ``folder``."""
    try:
        yield
    except SafetensorError as error:
        # safetensors reports the error number only in its message.
        match = re.search(r"\(os error (\d+)\)", str(error))
        if match is None:
            raise
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(folder)) from error
