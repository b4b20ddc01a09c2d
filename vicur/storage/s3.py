"""Folders on S3 that are whole or absent. S3 has no rename, so a folder is there once its marker is, which is written last.

Credentials, region and endpoint come from where boto3 looks for them (``AWS_ENDPOINT_URL``, a service account's role, ...): none
stands in a configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.config.address import S3_ADDRESS
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.storage.folders import files_below, new_folder

_ADDRESS = re.compile(S3_ADDRESS)
_DELETE_BATCH = 1000


def is_s3(address: str) -> bool:
    """Whether an address is one of S3."""
    return address.startswith("s3://")


def split_address(address: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``; the prefix has no slash at its ends and may be empty.

    Raises:
        VicurError: where the address is none.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise VicurError("is no address on S3.", where=redacted(address), remedy="Write s3://bucket/prefix.")
    return found["bucket"], (found["prefix"] or "").strip("/")


def s3_client(address: str) -> Any:
    """A boto3 client of S3; several threads may share it.

    Raises:
        VicurError: where boto3 is missing or no region or endpoint can be made out; ``address`` is named as what it was for.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise VicurError(
            "needs boto3, which is not installed.", where=address, remedy="Install vicur[tracking]."
        ) from error
    with answering(address):
        try:
            return boto3.client("s3", config=Config(retries={"mode": "standard"}))
        except ValueError as error:  # of an endpoint that is none, and of credentials that are halves
            raise VicurError(
                f"S3 cannot be reached ({error}).", where=address, remedy="Correct AWS_ENDPOINT_URL_S3."
            ) from error


@dataclass(frozen=True, eq=False)
class S3Folders:
    """Named folders below one address.

    Attributes:
        address: ``s3://bucket/prefix``.
        marker: file that each folder holds and that is written last; a folder without it does not exist.
        client: a boto3 client of S3.
    """

    address: str
    marker: str
    client: Any

    @classmethod
    def at(cls, address: str, marker: str) -> S3Folders:
        """The folders below ``address``.

        Raises:
            VicurError: where the address is none, boto3 is missing or no region or endpoint can be made out.
        """
        split_address(address)
        return cls(address, marker, s3_client(address))

    def names(self) -> list[str]:
        """Names of the folders that are whole, sorted.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        with answering(self.address):
            keys = self._keys("")
        return sorted(key.split("/")[0] for key in keys if key.count("/") == 1 and key.endswith(f"/{self.marker}"))

    def read_marker(self, name: str) -> bytes | None:
        """What the marker of folder ``name`` holds; ``None`` where there is no such folder.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        with answering(f"{self.address}/{name}"):
            try:
                answer = self.client.get_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"))
            except self.client.exceptions.NoSuchKey:
                return None
            content: bytes = answer["Body"].read()
            return content

    def put(self, folder: Path, name: str, mark: bytes | None = None) -> None:
        """Uploads a folder under ``name``, its marker last. What a killed upload left there is removed first.

        Args:
            folder: what to upload.
            name: what it is called there.
            mark: what its marker holds, where the folder has none of its own.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        self.remove(name)
        files = sorted(files_below(folder), key=lambda file: file == folder / self.marker)
        with answering(f"{self.address}/{name}"):
            for file in files:
                key = self._key(f"{name}/{file.relative_to(folder).as_posix()}")
                self.client.upload_file(str(file), self._bucket, key)
            if mark is not None:
                self.client.put_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"), Body=mark)

    def mark(self, name: str, content: bytes) -> None:
        """Makes a folder that consists of its marker alone.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        with answering(f"{self.address}/{name}"):
            self.client.put_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"), Body=content)

    def share(self, folder: Path, name: str) -> bool:
        """Sees to it that a folder is there under a name that tells what it holds (its hash), with an empty marker.

        Several may do so at once, and others may read meanwhile: what is there is left, and nothing is removed.

        Returns:
            Whether anything had to be uploaded.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        files = {file.relative_to(folder).as_posix(): file for file in files_below(folder)}
        with answering(f"{self.address}/{name}"):
            there = self._sizes(f"{name}/")
            wanting = [path for path, file in files.items() if there.get(f"{name}/{path}") != file.stat().st_size]
            for path in wanting:
                self.client.upload_file(str(files[path]), self._bucket, self._key(f"{name}/{path}"))
            if marked := bool(wanting) or f"{name}/{self.marker}" not in there:
                self.client.put_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"), Body=b"")
        return marked

    def get(self, name: str, target: Path) -> None:
        """Downloads folder ``name`` to ``target``, whole or not at all.

        Raises:
            VicurError: where there is no such folder, a key leads out of ``target``, or S3 does not answer or refuses.
        """
        with answering(f"{self.address}/{name}"), new_folder(target) as partial:
            keys = self._keys(f"{name}/")
            if f"{name}/{self.marker}" not in keys:
                raise VicurError(
                    "does not exist or is not whole.", where=f"{self.address}/{name}", remedy="Correct the address."
                )
            for key in keys:
                place = (partial / key.removeprefix(f"{name}/")).resolve()
                if not place.is_relative_to(partial.resolve()):
                    raise VicurError(
                        "holds a key that leads out of its folder.",
                        where=f"{self.address}/{key}",
                        remedy="Remove that object.",
                    )
                place.parent.mkdir(parents=True, exist_ok=True)
                self.client.download_file(self._bucket, self._key(key), str(place))

    def remove(self, name: str) -> None:
        """Removes a folder, its marker first.

        Raises:
            VicurError: where S3 does not answer or refuses.
        """
        with answering(f"{self.address}/{name}"):
            keys = sorted(self._keys(f"{name}/"), key=lambda key: key != f"{name}/{self.marker}")
            if keys and keys[0] == f"{name}/{self.marker}":
                self.client.delete_object(Bucket=self._bucket, Key=self._key(keys.pop(0)))
            for start in range(0, len(keys), _DELETE_BATCH):
                objects = [{"Key": self._key(key)} for key in keys[start : start + _DELETE_BATCH]]
                self.client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})

    @property
    def _bucket(self) -> str:
        return split_address(self.address)[0]

    def _key(self, name: str) -> str:
        prefix = split_address(self.address)[1]
        return f"{prefix}/{name}" if prefix else name

    def _keys(self, below: str) -> list[str]:
        """Keys that begin with ``below``, relative to the address."""
        return list(self._sizes(below))

    def _sizes(self, below: str) -> dict[str, int]:
        """Sizes in bytes of what has a key that begins with ``below``, by key."""
        start = self._key("")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start + below)
        return {entry["Key"].removeprefix(start): entry["Size"] for page in pages for entry in page.get("Contents", [])}


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Says plainly what S3 would not do. Trying again may help, unless it has refused."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
        final = code in ("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
        final = final or isinstance(error, NoCredentialsError | PartialCredentialsError)
        raise VicurError(
            f"S3 does not do what is asked ({str(error).splitlines()[0]}).",
            where=where,
            remedy="Check the address, the credentials and AWS_ENDPOINT_URL.",
            retryable=not final,
        ) from error
