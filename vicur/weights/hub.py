"""Weights from the Hugging Face Hub, or from the mirror in ``HF_ENDPOINT``: one commit, without any file that can run code.

The token for private models is read as huggingface_hub does it (``HF_TOKEN``).
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from vicur.config.model_address import ModelAddress
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import files_below
from vicur.storage.hub import hub_errors, published_sha256
from vicur.weights.record import FileRecord, Record, is_model_file
from vicur.weights.sources import Fetched, Listing, require_space
from vicur.wording import listed

_THREADS = 8
_SECONDS = 15  # for a listing
_SHOWN = 3  # files in an error message


@dataclass(frozen=True)
class HubSource:
    """A commit of a repository on the Hub."""

    repository: str  # owner/name
    commit: str
    endpoint: str | None = None  # address of a mirror; None for the Hub itself

    @classmethod
    def at(cls, address: ModelAddress) -> HubSource:
        """Return the source at an address."""
        return cls(address.place, address.revision, os.environ.get("HF_ENDPOINT"))

    @property
    def name(self) -> str:
        return self.repository.partition("/")[2]

    def has(self, record: Record) -> bool:
        return (record.origin, record.revision) == (self.repository, self.commit)

    def listing(self) -> Listing:
        with self._hub_errors():
            info = HfApi(endpoint=self.endpoint).model_info(
                self.repository, revision=self.commit, files_metadata=True, timeout=_SECONDS
            )
        sizes = {each.rfilename: each.size or 0 for each in info.siblings or ()}
        files = {name: size for name, size in sizes.items() if is_model_file(name)}
        return Listing(files, sorted(sizes.keys() - files.keys()))

    def fetch(self, work: Path, events: Events) -> Fetched:
        folder = work / "files"
        with self._hub_errors():
            tree = HfApi(endpoint=self.endpoint).list_repo_tree(self.repository, revision=self.commit, recursive=True)
            entries = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
            files = {name: entry for name, entry in entries.items() if is_model_file(name)}
            # An interrupted call may have completed some of the files, perhaps of another commit.
            present = (
                {file.relative_to(folder).as_posix(): file for file in files_below(folder)} if folder.is_dir() else {}
            )
            for name in present.keys() - files.keys():
                if not name.startswith(".cache/"):
                    present[name].unlink()
            require_space(sum(entry.size for name, entry in files.items() if name not in present), folder)
            checksums = self._fetch_all(files, folder, events)
        # Download metadata of huggingface_hub.
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        record = Record(origin=self.repository, revision=self.commit, files=checksums)
        return Fetched(folder, record, sorted(entries.keys() - files.keys()))

    def _fetch_all(self, files: dict[str, RepoFile], folder: Path, events: Events) -> dict[str, FileRecord]:
        # Its bars would fill the log of a pod.
        disable_progress_bars()
        checksums, wrong = {}, []
        with ThreadPoolExecutor(_THREADS) as pool:
            running = {pool.submit(self._fetch_one, entry, folder): name for name, entry in files.items()}
            try:
                for done in as_completed(running):
                    name, checksum = running[done], done.result()
                    if checksum is None:
                        wrong.append(name)
                        continue
                    checksums[name] = FileRecord(bytes=files[name].size, sha256=checksum)
                    size = sum(each.bytes for each in checksums.values())
                    events.progress(len(checksums), len(files), f"files, {size / 1e6:,.0f} MB fetched")
            finally:
                # After the first failure or Ctrl-C, do not begin with further files.
                pool.shutdown(cancel_futures=True)
        if wrong:
            raise VicurError(
                f"the Hub sent other bytes than it lists for {listed(sorted(wrong), _SHOWN)}.",
                where=self._where,
                remedy="Try again. If the error persists, check the mirror or proxy in between.",
                retryable=True,
            )
        return {name: checksums[name] for name in sorted(checksums)}

    def _fetch_one(self, entry: RepoFile, folder: Path) -> str | None:
        """Fetch a file and return its SHA-256, or remove it and return ``None`` if it is not the published one."""
        # Resumes a file that an interrupted call left truncated, and verifies no more than its size.
        hf_hub_download(self.repository, entry.path, revision=self.commit, endpoint=self.endpoint, local_dir=folder)
        path = folder / entry.path
        checksum = published_sha256(path, entry)
        if checksum is None:
            path.unlink(missing_ok=True)
        return checksum

    @property
    def _where(self) -> str:
        return f"{self.repository}@{self.commit[:12]}"

    def _hub_errors(self) -> AbstractContextManager[None]:
        return hub_errors(self._where, self.repository, "model")


def newest_commit(repository: str, revision: str | None) -> str:
    """Return the commit that a branch or tag names now.

    Raises:
        VicurError: if the Hub cannot be reached, or has no such repository or revision.
    """
    source = HubSource(repository, revision or "main", os.environ.get("HF_ENDPOINT"))
    with source._hub_errors():
        info = HfApi(endpoint=source.endpoint).model_info(repository, revision=revision, timeout=_SECONDS)
    return str(info.sha)
