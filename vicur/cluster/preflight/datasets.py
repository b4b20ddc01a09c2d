"""The dataset: that there is one where the configuration says. Nothing of it is fetched but the listing of a hash."""

from __future__ import annotations

from pathlib import Path

from vicur.cluster.preflight.buckets import first_objects
from vicur.cluster.preflight.finding import Finding
from vicur.config.data import DataConfig, FolderConfig, PinnedConfig, RemoteConfig
from vicur.data.folder import EXAMPLES
from vicur.data.pinned import pinned_files
from vicur.storage.object_store import objects_at


def dataset(data: DataConfig) -> Finding:
    """Whether the dataset is there.

    Raises:
        VicurError: where DVC's remote has not the hash, or does not answer.
    """
    if isinstance(data, PinnedConfig):
        count = len(pinned_files(data.hash, objects_at(data.remote)))
        return Finding("ok", f"{data.hash} at {data.remote}, {count} file{'' if count == 1 else 's'}")
    if isinstance(data, RemoteConfig):
        return _on_s3(data.uri)
    if isinstance(data, FolderConfig):
        return _folder(data.path)
    return Finding("ok", "digit scenes, which are drawn")


def _on_s3(address: str) -> Finding:
    found = first_objects(address, 1)
    if isinstance(found, Finding):
        return found
    if not found:
        return Finding("failed", f"{address} holds nothing", "Correct data.uri, or upload the dataset.")
    return Finding("ok", f"{address} holds something")


def _folder(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(
            "failed",
            f"there is no folder {folder}",
            "Correct data.path. Steps in a cluster have no folder of yours: name the dataset by hash or address (docs/data.md).",
        )
    if not any((folder / name).is_file() for name in EXAMPLES):
        return Finding("failed", f"{folder} holds no {' and no '.join(EXAMPLES)}", "Correct data.path.")
    return Finding("ok", f"{folder}")
