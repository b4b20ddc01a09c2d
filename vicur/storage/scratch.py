"""The folder for temporary files of a process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def scratch_folder() -> Path:
    """Return ``VICUR_SCRATCH``, or else a folder in the system's place for temporary files."""
    return Path(os.environ.get("VICUR_SCRATCH") or Path(tempfile.gettempdir()) / "vicur")
