"""Objects to read below an address: the files of a folder, or what lies below a prefix on S3.

Nothing is written there. A copy that was cut off goes on at the byte where it stopped, whether the connection broke for a moment or the
whole process was killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vicur.errors import VicurError
from vicur.storage.folders import files_below
from vicur.storage.s3 import answering, is_s3, s3_client, split_address

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TRIES = 6  # of a stream that breaks without a byte in between
_PAUSE = 0.5  # seconds before the second try; it doubles with each
_ABSENT = ("NoSuchKey", "404")
_CHANGED = ("PreconditionFailed", "412")
_PAST_THE_END = ("InvalidRange", "416")

Told = Callable[[int], None]
"""Is told of bytes as they come. What it raises stops the copying."""


@dataclass(frozen=True)
class StoredObject:
    """An object below an address.

    Attributes:
        key: its name below the address.
        size: its bytes.
        version: differs when its content does (S3's ETag); empty where that is not known.
    """

    key: str
    size: int
    version: str = ""


class Objects(Protocol):
    """What lies below an address."""

    @property
    def address(self) -> str:
        """Where it is, for people."""
        ...

    def all(self) -> list[StoredObject]:
        """Every object, sorted by key.

        Raises:
            VicurError: where the place does not answer or refuses.
        """
        ...

    def read(self, key: str, limit: int) -> bytes | None:
        """A small object's content; ``None`` where there is no such object.

        Raises:
            VicurError: where it has more than ``limit`` bytes, or the place does not answer or refuses.
        """
        ...

    def copy(self, key: str, target: Path, told: Told, version: str = "") -> None:
        """Copies an object to a file. What the file holds already is taken for the object's beginning: check the result.

        Args:
            key: which object.
            target: file on this machine.
            told: is told how many bytes have come.
            version: the version that is wanted, where it matters.

        Raises:
            VicurError: where there is no such object, it has another version, or the place does not answer or refuses.
        """
        ...


def objects_at(address: str) -> Objects:
    """What lies below ``s3://bucket/prefix`` or below a folder.

    Raises:
        VicurError: for an address that cannot be used.
    """
    if is_s3(address):
        return S3Objects(address, *split_address(address), s3_client(address))
    folder = Path(address)
    if not folder.is_dir():
        raise VicurError("is no folder.", where=address, remedy="Correct the path, or mount the storage.")
    return FolderObjects(folder)


@dataclass(frozen=True)
class FolderObjects:
    """The files of a folder.

    Attributes:
        folder: which.
    """

    folder: Path

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return str(self.folder)

    def all(self) -> list[StoredObject]:
        """Every file, sorted by name."""
        files = files_below(self.folder)
        return [StoredObject(file.relative_to(self.folder).as_posix(), file.stat().st_size) for file in files]

    def read(self, key: str, limit: int) -> bytes | None:
        """A file's content."""
        try:
            with (self.folder / key).open("rb") as stream:
                content = stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return _within(content, limit, f"{self.folder}/{key}")

    def copy(self, key: str, target: Path, told: Told, version: str = "") -> None:  # noqa: ARG002 (files have none)
        """Copies a file, whole: a disk needs no going on."""
        try:
            with (self.folder / key).open("rb") as source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    copy.write(chunk)
                    told(len(chunk))
        except FileNotFoundError as error:
            raise _absent(f"{self.folder}/{key}") from error


@dataclass(frozen=True, eq=False)
class S3Objects:
    """The objects below a prefix of a bucket.

    Attributes:
        address: ``s3://bucket/prefix``.
        bucket, prefix: its parts.
        client: a boto3 client of S3.
    """

    address: str
    bucket: str
    prefix: str
    client: Any

    def all(self) -> list[StoredObject]:
        """Every object, sorted by key. The empty objects that some tools make in place of folders are left out."""
        start = self._key("")
        with answering(self.address):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            found = [entry for page in pages for entry in page.get("Contents", [])]
        return sorted(
            (
                StoredObject(entry["Key"].removeprefix(start), int(entry["Size"]), str(entry["ETag"]).strip('"'))
                for entry in found
                if not (entry["Key"].endswith("/") and entry["Size"] == 0)
            ),
            key=lambda stored: stored.key,
        )

    def read(self, key: str, limit: int) -> bytes | None:
        """A small object's content."""
        with answering(f"{self.address}/{key}"):
            try:
                content: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read(limit + 1)
            except self.client.exceptions.ClientError as error:
                if _code(error) in _ABSENT:
                    return None
                raise
        return _within(content, limit, f"{self.address}/{key}")

    def copy(self, key: str, target: Path, told: Told, version: str = "") -> None:
        """Copies an object, from the end of ``target`` on."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        tries, held = 0, -1
        while True:
            begun = target.stat().st_size if target.exists() else 0
            # A try that brought bytes is progress, and the next one is counted as the first.
            tries = tries + 1 if begun <= held else 1
            held = begun
            try:
                with answering(f"{self.address}/{key}"):
                    return self._copy_from(begun, key, target, told, version)
            except VicurError as error:
                # A stream that breaks is nothing that boto3 tries again; all else it has.
                if not isinstance(error.__cause__, HTTPClientError | IncompleteReadError) or tries >= _TRIES:
                    raise
                log.info("%s: %s Trying again", error.where, error.problem)
                time.sleep(_PAUSE * 2 ** (tries - 1))

    def _copy_from(self, begun: int, key: str, target: Path, told: Told, version: str) -> None:
        wanted: dict[str, str] = {"Range": f"bytes={begun}-"} if begun else {}
        if version:
            wanted["IfMatch"] = f'"{version}"'
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self._key(key), **wanted)
        except self.client.exceptions.ClientError as error:
            code = _code(error)
            if code in _PAST_THE_END:
                return  # There is no more of it.
            if code in _ABSENT:
                raise _absent(f"{self.address}/{key}") from error
            if code in _CHANGED:
                raise VicurError(
                    "was changed while it was being fetched.",
                    where=f"{self.address}/{key}",
                    remedy="Run the step again once nobody writes there.",
                ) from error
            raise
        # A server may have no use for ranges, and begin at the beginning.
        with target.open("ab" if "ContentRange" in answer else "wb") as file:
            for chunk in answer["Body"].iter_chunks(_CHUNK):
                file.write(chunk)
                told(len(chunk))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


def _code(error: Any) -> str:
    return str(error.response["Error"].get("Code", ""))


def _within(content: bytes, limit: int, where: str) -> bytes:
    if len(content) > limit:
        raise VicurError(f"has more than {limit} bytes.", where=where, remedy="Name the right object.")
    return content


def _absent(where: str) -> VicurError:
    return VicurError("does not exist.", where=where, remedy="Correct the address, or upload it.")
