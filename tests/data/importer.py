"""Imports a source in a process of its own, which a test may kill: ``python -m tests.data.importer SOURCE WORK OUTPUT PROCESSES``.

Units and shards are small, so that a small source has many of both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import make_context
from vicur.config.data import FolderConfig
from vicur.data import PrepareSummary, prepare, shards
from vicur.data.formats import geometry3k, imagefolder, lines
from vicur.storage.folders import new_folder


def import_small(
    source: Path,
    work: Path,
    output: Path,
    processes: int = 1,
    *,
    unit_rows: int = 40,
    shard_rows: int = 70,
    seed: int = 0,
    **settings: Any,
) -> PrepareSummary:
    """Prepare ``source`` with units and shards of a few rows each."""
    config = FolderConfig(path=source, processes=processes, max_skipped_share=0.5, required_splits=(), **settings)
    with pytest.MonkeyPatch.context() as patch:
        for module in (lines, geometry3k, imagefolder):
            patch.setattr(module, "UNIT_ROWS", unit_rows)
        patch.setattr(shards, "ROWS_PER_SHARD", shard_rows)
        patch.setattr("vicur.data.importing.folder_import._ROWS_PER_PROCESS", 1)
        patch.setattr("vicur.data.importing.merge._BYTES_PER_PROCESS", 1)
        with new_folder(output) as partial:
            return prepare(config, config.inputs(), partial, make_context(work, seed))


if __name__ == "__main__":
    import_small(*map(Path, sys.argv[1:4]), processes=int(sys.argv[4]))
