"""A source that was fetched: a prepared dataset is used as it is, and any other folder is imported."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from vicur.config.data import ImportConfig
from vicur.data.dataset import MANIFEST, read_manifest
from vicur.data.fetch import verify_fetched
from vicur.data.formats import SourceFolder
from vicur.data.importing import Skipped, import_folder
from vicur.data.schema import Manifest
from vicur.data.splitting import require_splits
from vicur.errors import VicurError
from vicur.stage.runner import Context
from vicur.storage.folders import files_below

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".pq", ".arrow", ".tar")
"""Endings of data files, by which a folder that is not here yet is recognised as a source."""


def require_dataset(paths: Iterable[str], where: str) -> None:
    """Raise an error if a folder with these files cannot be a source. Its format is recognised once the files are here."""
    if not any(path == MANIFEST or path.lower().endswith(ENDINGS) for path in paths):
        raise VicurError(
            f"contains neither a prepared dataset ({MANIFEST}) nor data files ({', '.join(ENDINGS)}).",
            where=where,
            remedy="Name the folder that has such files.",
        )


def take_or_import(
    config: ImportConfig, source: SourceFolder, output: Path, context: Context
) -> tuple[Manifest, Skipped]:
    """Move a prepared dataset to ``output``, or import the source."""
    fetched = source.path
    if not (fetched / MANIFEST).is_file():
        return import_folder(config, source, output, context)
    # The files are moved, so that their bytes and the dataset's hash stay the same.
    address = source.address or str(fetched)
    require_splits(verify_fetched(fetched, address).examples, config.required_splits, address)
    for file in files_below(fetched):
        place = output / file.relative_to(fetched)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, place)
    return read_manifest(output), Skipped()
