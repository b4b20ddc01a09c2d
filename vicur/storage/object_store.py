"""Read-only access to the objects below an address: a folder, or a prefix on S3.

An interrupted copy resumes at the byte where it stopped, whether only the connection broke or the process was killed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vicur.errors import VicurError
from vicur.storage.folders import files_below
from vicur.storage.s3 import error_code, is_overloaded, is_s3, s3_client, s3_errors, split_address

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TRIES = 6  # in a row without a new byte
_PAUSE = 0.5  # seconds before the second try; doubles with each
_ABSENT = ("NoSuchKey", "404")
_CHANGED = ("PreconditionFailed", "412")
_PAST_THE_END = ("InvalidRange", "416")

OnBytes = Callable[[int], None]
"""Called with the number of bytes received; an exception aborts the copy."""


@dataclass(frozen=True)
class StoredObject:
    """An object below an address."""

    key: str  # relative to the address
    size: int
    version: str = ""  # changes whenever the content does (S3's ETag); empty if unknown


class Objects(Protocol):
    """The objects below an address. Every method raises a :class:`VicurError` if the store cannot be reached or denies access."""

    @property
    def address(self) -> str: ...

    def all(self) -> list[StoredObject]:
        """Return every object, sorted by key."""
        ...

    def is_empty(self) -> bool:
        """Check for the absence of any object, without listing all."""
        ...

    def read(self, key: str, limit: int) -> bytes | None:
        """Return the content of an object of at most ``limit`` bytes, or ``None`` if it does not exist."""
        ...

    def size(self, key: str) -> int:
        """Return the number of bytes of an object."""
        ...

    def read_range(self, key: str, start: int, count: int) -> bytes:
        """Return ``count`` bytes of an object from ``start`` on, or fewer at its end."""
        ...

    def copy(self, key: str, target: Path, on_bytes: OnBytes, version: str = "") -> None:
        """Copy an object to a file, or raise an error if the object has another version than ``version``, if that is not empty.

        Existing content of the file is taken as the beginning of the object, so the result must be verified.
        """
        ...


def objects_at(address: str, *, impatient: bool = False) -> Objects:
    """Return the objects below ``s3://bucket/prefix`` or below a folder. An impatient client of S3 does not retry."""
    if is_s3(address):
        return S3Objects(address, *split_address(address), s3_client(address, impatient=impatient))
    folder = Path(address)
    if not folder.is_dir():
        raise VicurError("is not a folder.", where=address, remedy="Correct the path, or mount the storage.")
    return FolderObjects(folder)


@dataclass(frozen=True)
class FolderObjects:
    """The files of a folder as objects. They have no version."""

    folder: Path

    @property
    def address(self) -> str:
        return str(self.folder)

    def all(self) -> list[StoredObject]:
        files = files_below(self.folder)
        return [StoredObject(file.relative_to(self.folder).as_posix(), file.stat().st_size) for file in files]

    def is_empty(self) -> bool:
        return not any(path.is_file() for path in self.folder.rglob("*"))

    def read(self, key: str, limit: int) -> bytes | None:
        try:
            with (self.folder / key).open("rb") as stream:
                content = stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return _within(content, limit, f"{self.folder}/{key}")

    def size(self, key: str) -> int:
        try:
            return (self.folder / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _absent(f"{self.folder}/{key}") from error

    def read_range(self, key: str, start: int, count: int) -> bytes:
        try:
            with (self.folder / key).open("rb") as stream:
                stream.seek(start)
                return stream.read(count)
        except FileNotFoundError as error:
            raise _absent(f"{self.folder}/{key}") from error

    def copy(self, key: str, target: Path, on_bytes: OnBytes, version: str = "") -> None:  # noqa: ARG002 (no versions)
        # From the beginning: local copies are fast, and need not resume.
        try:
            with (self.folder / key).open("rb") as source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    copy.write(chunk)
                    on_bytes(len(chunk))
        except FileNotFoundError as error:
            raise _absent(f"{self.folder}/{key}") from error


@dataclass(frozen=True, eq=False)
class S3Objects:
    """The objects below a prefix of a bucket, read with a boto3 client."""

    address: str
    bucket: str
    prefix: str
    client: Any

    def all(self) -> list[StoredObject]:
        start = self._key("")
        entries = _patiently(partial(self._entries, start))
        return sorted(
            (
                StoredObject(entry["Key"].removeprefix(start), int(entry["Size"]), str(entry["ETag"]).strip('"'))
                for entry in entries
                # Consoles create an empty object in place of a folder.
                if not (entry["Key"].endswith("/") and entry["Size"] == 0)
            ),
            key=lambda stored: stored.key,
        )

    def _entries(self, start: str) -> list[dict[str, Any]]:
        with s3_errors(self.address):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            return [entry for page in pages for entry in page.get("Contents", [])]

    def is_empty(self) -> bool:
        with s3_errors(self.address):
            response = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)
        return not response.get("Contents")

    def read(self, key: str, limit: int) -> bytes | None:
        return _patiently(partial(self._read, key, limit))

    def _read(self, key: str, limit: int) -> bytes | None:
        with s3_errors(f"{self.address}/{key}"):
            try:
                content: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read(limit + 1)
            except self.client.exceptions.ClientError as error:
                if error_code(error) in _ABSENT:
                    return None
                raise
        return _within(content, limit, f"{self.address}/{key}")

    def size(self, key: str) -> int:
        return _patiently(partial(self._size, key))

    def _size(self, key: str) -> int:
        with s3_errors(f"{self.address}/{key}"):
            try:
                return int(self.client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"])
            except self.client.exceptions.ClientError as error:
                if error_code(error) in _ABSENT:
                    raise _absent(f"{self.address}/{key}") from error
                raise

    def read_range(self, key: str, start: int, count: int) -> bytes:
        return _patiently(partial(self._read_range, key, start, count))

    def _read_range(self, key: str, start: int, count: int) -> bytes:
        with s3_errors(f"{self.address}/{key}"):
            try:
                response = self.client.get_object(
                    Bucket=self.bucket, Key=self._key(key), Range=f"bytes={start}-{start + count - 1}"
                )
            except self.client.exceptions.ClientError as error:
                if error_code(error) in _ABSENT:
                    raise _absent(f"{self.address}/{key}") from error
                raise
            content: bytes = response["Body"].read(count if "ContentRange" in response else start + count)
        # A server without support for ranges sends the object from its first byte.
        return content if "ContentRange" in response else content[start:]

    def copy(self, key: str, target: Path, on_bytes: OnBytes, version: str = "") -> None:
        from botocore.exceptions import FlexibleChecksumError, HTTPClientError

        tries, size_before, damaged = 0, -1, 0
        while True:
            size = target.stat().st_size if target.exists() else 0
            # Only tries that received nothing count towards the limit.
            tries = tries + 1 if size <= size_before else 1
            size_before = size
            try:
                with s3_errors(f"{self.address}/{key}"):
                    return self._copy_from(size, key, target, on_bytes, version)
            except VicurError as error:
                if isinstance(error.__cause__, FlexibleChecksumError):
                    # These bytes do not have the checksum that the store sent with them. The transfer may be at fault, once.
                    damaged += 1
                    os.truncate(target, size)
                    if damaged > 1:
                        raise VicurError(
                            "is damaged: its bytes do not have the checksum that the store has for them.",
                            where=error.where,
                            remedy="Delete it there, and upload it again from a machine that has the right file.",
                        ) from error
                    continue
                is_lost = isinstance(error.__cause__, HTTPClientError)
                if not (is_lost or _is_passing(error)) or tries >= _TRIES:
                    raise
                _pause(error, tries)

    def _copy_from(self, start: int, key: str, target: Path, on_bytes: OnBytes, version: str) -> None:
        conditions: dict[str, str] = {"Range": f"bytes={start}-"} if start else {}
        if version:
            conditions["IfMatch"] = f'"{version}"'
        try:
            response = self.client.get_object(Bucket=self.bucket, Key=self._key(key), **conditions)
        except self.client.exceptions.ClientError as error:
            code = error_code(error)
            if code in _PAST_THE_END:
                return  # the file is complete
            if code in _ABSENT:
                raise _absent(f"{self.address}/{key}") from error
            if code in _CHANGED:
                raise VicurError(
                    "was changed while it was being fetched.",
                    where=f"{self.address}/{key}",
                    remedy="Run the step again when the upload to this address has finished.",
                ) from error
            raise
        # A server without support for ranges sends the object from its first byte.
        with target.open("ab" if "ContentRange" in response else "wb") as file:
            for chunk in response["Body"].iter_chunks(_CHUNK):
                file.write(chunk)
                on_bytes(len(chunk))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


T = TypeVar("T")


def _patiently(request: Callable[[], T]) -> T:
    """Repeat a request, without a body to resume, while the store is overloaded or the response breaks off."""
    for tries in range(1, _TRIES):
        try:
            return request()
        except VicurError as error:
            if not _is_passing(error):
                raise
            _pause(error, tries)
    return request()


def _is_passing(error: VicurError) -> bool:
    from botocore.exceptions import ClientError, FlexibleChecksumError, IncompleteReadError, ResponseStreamingError

    # boto3 repeats requests a few times, but not a response body that breaks off.
    cause = error.__cause__
    if isinstance(cause, ClientError):
        return is_overloaded(cause)
    return isinstance(cause, FlexibleChecksumError | IncompleteReadError | ResponseStreamingError)


def _pause(error: VicurError, tries: int) -> None:
    log.info("%s: %s Trying again", error.where, error.problem)
    time.sleep(_PAUSE * 2 ** (tries - 1))


def _within(content: bytes, limit: int, where: str) -> bytes:
    if len(content) > limit:
        raise VicurError(f"is larger than {limit} bytes.", where=where, remedy="Name the right object.")
    return content


def _absent(where: str) -> VicurError:
    return VicurError("does not exist.", where=where, remedy="Correct the address, or upload the file.")
