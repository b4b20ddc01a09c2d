"""Weights from the Hugging Face Hub, or from the mirror in ``HF_ENDPOINT``: one commit, without any file that can run code.

The token for private models is read as huggingface_hub does it (``HF_TOKEN``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import disable_progress_bars

from vicur.config.model_address import ModelAddress
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.stage.events import Events
from vicur.storage.folders import file_sha256, files_below
from vicur.weights.record import FileRecord, Record, is_model_file
from vicur.weights.sources import Fetched, Listing, require_space
from vicur.wording import listed

_THREADS = 8
_SECONDS = 15  # for a listing
_SHOWN = 3  # files in an error message
# Answers that may be different soon.
_TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


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
        checksum = _published_sha256(path, entry)
        if checksum is None:
            path.unlink(missing_ok=True)
        return checksum

    @property
    def _where(self) -> str:
        return f"{self.repository}@{self.commit[:12]}"

    @contextmanager
    def _hub_errors(self) -> Iterator[None]:
        page = f"{self.endpoint or constants.ENDPOINT}/{self.repository}"
        try:
            yield
        except GatedRepoError as error:
            raise VicurError(
                "is gated: its terms must be accepted first.",
                where=self._where,
                remedy=f"Accept the terms on {page}, and set HF_TOKEN to a token of that account (in a cluster: secret vicur-hf).",
            ) from error
        except RevisionNotFoundError as error:
            raise VicurError(
                "has no such commit.", where=self._where, remedy=f"Use a commit that {page}/commits/main lists."
            ) from error
        except RepositoryNotFoundError as error:
            raise VicurError(
                "does not exist on the Hub, or this account may not see it.",
                where=self._where,
                remedy="Correct the name. For a private model, set HF_TOKEN (in a cluster: secret vicur-hf).",
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError, RuntimeError) as error:
            # A problem of the disk has a number. huggingface_hub and hf_xet raise the same types without one for the network.
            if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError):
                raise
            raise VicurError(
                f"cannot be fetched ({redacted(str(error).partition(chr(10))[0])}).",
                where=self._where,
                remedy="Check the network, HF_ENDPOINT and HF_HUB_OFFLINE; in a cluster, a network policy may forbid the Hub to pods "
                "(k8s/base/network/hub.yaml). If the Hub cannot be reached, stage from S3 or a folder.",
                retryable=_may_succeed_later(error),
            ) from error


def newest_commit(repository: str, revision: str | None) -> str:
    """Return the commit that a branch or tag names now.

    Raises:
        VicurError: if the Hub cannot be reached, or has no such repository or revision.
    """
    source = HubSource(repository, revision or "main", os.environ.get("HF_ENDPOINT"))
    with source._hub_errors():
        info = HfApi(endpoint=source.endpoint).model_info(repository, revision=revision, timeout=_SECONDS)
    return str(info.sha)


def _may_succeed_later(error: Exception) -> bool:
    response = getattr(error, "response", None)
    if response is None:
        return True  # a lost connection
    return response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code in _TEMPORARY


def _published_sha256(path: Path, entry: RepoFile) -> str | None:
    if not path.is_file() or path.stat().st_size != entry.size:
        return None
    # The Hub lists large files by SHA-256, and small ones by the id of their git blob.
    checksum = file_sha256(path)
    if entry.lfs is not None:
        return checksum if checksum == entry.lfs.sha256 else None
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return checksum if blob == entry.blob_id else None
