"""An embedded MLflow store to copy: creating its tables takes seconds, so it happens once per test process."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

from vicur.config.tracking import TrackingConfig
from vicur.tracking.mlflow import connect


@cache
def empty_store_folder() -> Path:
    """Return a folder with a store that has no runs."""
    folder = tempfile.TemporaryDirectory(prefix="vicur-store-")
    atexit.register(folder.cleanup)
    connect(TrackingConfig(uri=f"sqlite:///{folder.name}/mlflow.db"))
    return Path(folder.name)
