"""What a disk says when it takes no weights."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Inside, a disk that refuses what safetensors writes below ``folder`` raises ``OSError``, as it does for other files: safetensors
    tells what the disk said in words alone.
    """
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(folder)) from error
