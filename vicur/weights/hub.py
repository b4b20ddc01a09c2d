"""Weights from the Hugging Face Hub, or from the mirror in ``HF_ENDPOINT``: one commit, without any file that can run code.

The token for private models is read as huggingface_hub does it (``HF_TOKEN``).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from vicur.errors import VicurError
from vicur.storage.folders import file_sha256
from vicur.weights.record import Record, is_model_file, record_of
from vicur.wording import listed

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHOWN = 3  # files in an error message


@dataclass(frozen=True)
class HubSource:
    """A commit of a repository on the Hub."""

    repository: str  # owner/name
    commit: str
    endpoint: str | None = None  # address of a mirror; None for the Hub itself

    @classmethod
    def at(cls, repository: str, revision: str | None) -> HubSource:
        """Return the source for the full hash of a commit, or raise an error for a branch or tag, which the owner can move."""
        if not revision or not _COMMIT.fullmatch(revision):
            problem = f"--revision {revision} is not a commit hash" if revision else "--revision is missing"
            raise VicurError(
                f"{problem}; only the hash of a commit identifies the bytes of a model.",
                where=repository,
                remedy="Set --revision to the 40 hex digits that the model's page shows under 'Files and versions'.",
            )
        return cls(repository, revision, os.environ.get("HF_ENDPOINT"))

    @property
    def name(self) -> str:
        return self.repository.partition("/")[2]

    def has(self, record: Record) -> bool:
        return (record.origin, record.revision) == (self.repository, self.commit)

    def fetch(self, folder: Path) -> Record:
        with self._hub_errors():
            tree = HfApi(endpoint=self.endpoint).list_repo_tree(self.repository, revision=self.commit, recursive=True)
            files = [entry for entry in tree if isinstance(entry, RepoFile) and is_model_file(entry.path)]
            # An interrupted call may have completed some of the files.
            self._require_space(files, folder)
            names = [file.path for file in files]
            snapshot_download(
                self.repository, revision=self.commit, endpoint=self.endpoint, local_dir=folder, allow_patterns=names
            )
        # snapshot_download also returns if it could not fetch anything, and accepts files that an earlier call left truncated.
        wrong = [file.path for file in files if not _is_published(folder / file.path, file)]
        if wrong:
            for name in wrong:
                (folder / name).unlink(missing_ok=True)
            raise VicurError(
                f"the Hub sent other bytes than it lists for {listed(wrong, _SHOWN)}.",
                where=self._where,
                remedy="Try again. If the error persists, check the mirror or proxy in between.",
                retryable=True,
            )
        # Download metadata of huggingface_hub.
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        return record_of(folder, self.repository, self.commit)

    @property
    def _where(self) -> str:
        return f"{self.repository}@{self.commit[:12]}"

    def _require_space(self, files: list[RepoFile], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        missing = sum(f.size for f in files if not (folder / f.path).is_file())
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise VicurError(
                f"has {free / 2**30:.1f} GiB of free space, but {missing / 2**30:.1f} GiB must be downloaded.",
                where=str(folder.parent),
                remedy="Enlarge the volume, or remove models that are no longer used.",
            )

    @contextmanager
    def _hub_errors(self) -> Iterator[None]:
        try:
            yield
        except GatedRepoError as error:
            raise VicurError(
                "is gated: its terms must be accepted first.",
                where=self._where,
                remedy="Accept the terms on the model's page, and set HF_TOKEN to a token of that account (in a cluster: secret "
                "vicur-hf).",
            ) from error
        except RevisionNotFoundError as error:
            raise VicurError("has no such commit.", where=self._where, remedy="Correct --revision.") from error
        except RepositoryNotFoundError as error:
            raise VicurError(
                "does not exist on the Hub, or this account may not see it.",
                where=self._where,
                remedy="Correct the name. For a private model, set HF_TOKEN (in a cluster: secret vicur-hf).",
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError) as error:
            raise VicurError(
                f"cannot be fetched ({str(error).splitlines()[0]}).",
                where=self._where,
                remedy="Check the network, HF_ENDPOINT and HF_HUB_OFFLINE. If the Hub cannot be reached, stage from S3 or a folder.",
                retryable=True,
            ) from error


def _is_published(path: Path, file: RepoFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    # The Hub lists large files by SHA-256, and small ones by the id of their git blob.
    if file.lfs is not None:
        return file_sha256(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob_id
