"""Weights from the Hugging Face Hub, or from a mirror that ``HF_ENDPOINT`` names: one commit, and no file that can run code.

A private model's token is taken from where huggingface_hub looks for it (``HF_TOKEN``).
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
from vicur.weights.record import Record, is_kept, record_of

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubSource:
    """A commit of a repository.

    Attributes:
        repository: ``owner/name``.
        commit: 40 hex digits.
        endpoint: address of the Hub or of a mirror; ``None`` for the Hub.
    """

    repository: str
    commit: str
    endpoint: str | None = None

    @classmethod
    def at(cls, repository: str, revision: str | None) -> HubSource:
        """A source, if the revision is a commit: names of branches and tags can be moved by the repository's owner.

        Raises:
            VicurError: where it is none.
        """
        if not revision or not _COMMIT.fullmatch(revision):
            given = f"the revision {revision!r}" if revision else "no revision"
            raise VicurError(
                f"is named with {given}, and only a commit's hash says which bytes are meant.",
                where=repository,
                remedy="Add --revision with the 40 hex digits that the model's page shows under 'Files and versions'.",
            )
        return cls(repository, revision, os.environ.get("HF_ENDPOINT"))

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repository.partition("/")[2]

    def holds(self, record: Record) -> bool:
        """Whether a staged model is of this commit."""
        return (record.origin, record.revision) == (self.repository, self.commit)

    def fetch(self, folder: Path) -> Record:
        """Downloads the commit's files; those that an interrupted call has finished are not fetched again."""
        with self._answering():
            tree = HfApi(endpoint=self.endpoint).list_repo_tree(self.repository, revision=self.commit, recursive=True)
            files = [entry for entry in tree if isinstance(entry, RepoFile) and is_kept(entry.path)]
            self._refuse_full_disk(files, folder)
            names = [file.path for file in files]
            snapshot_download(
                self.repository, revision=self.commit, endpoint=self.endpoint, local_dir=folder, allow_patterns=names
            )
        # It also returns where it could not fetch a thing, and finds nothing wrong with a file that was cut short before.
        wrong = [file.path for file in files if not _is_published(folder / file.path, file)]
        if wrong:
            for name in wrong:
                (folder / name).unlink(missing_ok=True)
            raise VicurError(
                f"has not sent the bytes that it lists: {', '.join(wrong[:3])}.",
                where=self._where,
                remedy="Try again; if it stays so, the mirror or proxy between is at fault.",
                retryable=True,
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        return record_of(folder, self.repository, self.commit)

    @property
    def _where(self) -> str:
        return f"{self.repository}@{self.commit[:12]}"

    def _refuse_full_disk(self, files: list[RepoFile], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        missing = sum(f.size for f in files if not (folder / f.path).is_file())
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise VicurError(
                f"has no room: {missing / 2**30:.1f} GiB are to be fetched and {free / 2**30:.1f} GiB are free.",
                where=str(folder.parent),
                remedy="Enlarge the volume or remove models that nobody reads.",
            )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Says plainly what the Hub would not do."""
        try:
            yield
        except GatedRepoError as error:
            remedy = "Accept its terms on its page, and give a token of that account in HF_TOKEN (in a cluster: secret vicur-hf)."
            raise VicurError(
                "is given to those alone who accepted its terms.", where=self._where, remedy=remedy
            ) from error
        except RevisionNotFoundError as error:
            raise VicurError("has no such commit.", where=self._where, remedy="Correct --revision.") from error
        except RepositoryNotFoundError as error:
            remedy = "Correct the name; for a private one give a token in HF_TOKEN (in a cluster: secret vicur-hf)."
            raise VicurError("is not on the Hub, or not for this account.", where=self._where, remedy=remedy) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError) as error:
            raise VicurError(
                f"cannot be fetched ({str(error).splitlines()[0]}).",
                where=self._where,
                remedy="Check the network, HF_ENDPOINT and HF_HUB_OFFLINE; where the Hub cannot be reached, stage from S3 or a folder.",
                retryable=True,
            ) from error


def _is_published(path: Path, file: RepoFile) -> bool:
    """Whether a file has the bytes that the Hub lists: large ones by SHA-256, small ones by the id that git gives a blob."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        return file_sha256(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob_id
