"""Folders on S3 that are either complete or absent.

S3 cannot rename, so each folder has a marker file that is uploaded last: a folder without its marker does not exist.

Credentials, region and endpoint come from boto3's usual places (``AWS_ENDPOINT_URL``, a service account's role, ...), never from the
configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from vicur.config.address import S3_ADDRESS
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.storage.folders import files_below, new_folder

_ADDRESS = re.compile(S3_ADDRESS)
_DELETE_BATCH = 1000  # the most that S3 accepts in one request

_DENIED = ("AccessDenied", "403")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken")
_FINAL = ("NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", *_EXPIRED, *_DENIED)
_OVERLOADED = (
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "TooManyRequests",
)
_REMEDIES = {
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "InvalidAccessKeyId": "The access key is unknown there: correct AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL_S3.",
    "SignatureDoesNotMatch": "The secret key is wrong: correct AWS_SECRET_ACCESS_KEY.",
    "RequestTimeTooSkewed": "The clock of this machine is wrong: set it.",
    **dict.fromkeys(
        _EXPIRED,
        "The credentials have expired: log in again (aws sso login), or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
        "AWS_SESSION_TOKEN to new ones. Then run it again.",
    ),
}
# boto3's errors about a login that it cannot renew.
_LOGIN_ERRORS = ("UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError", "CredentialRetrievalError")
_PERMISSIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
}


def is_s3(address: str) -> bool:
    return address.startswith("s3://")


def split_address(address: str) -> tuple[str, str]:
    """Split ``s3://bucket/prefix`` into bucket and prefix. The prefix has no slash at its ends and may be empty.

    Raises:
        VicurError: if the address does not have that form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise VicurError("is not an S3 address.", where=redacted(address), remedy="Write s3://bucket/prefix.")
    return match["bucket"], (match["prefix"] or "").strip("/")


def s3_client(address: str, *, impatient: bool = False) -> Any:
    """Create a boto3 client for S3, which threads may share. Errors name ``address``.

    An impatient client gives up after seconds instead of retrying, as a check should.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise VicurError(
            "boto3 is needed for S3 and is not installed.", where=address, remedy="Install 'vicur[tracking]'."
        ) from error
    settings: dict[str, Any] = (
        {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 1}}
        if impatient
        else {"retries": {"mode": "standard"}}
    )
    try:
        # Checks run in threads, and boto3's default session is not thread-safe.
        create = boto3.session.Session().client if impatient else boto3.client
        return create("s3", config=Config(**settings))
    except (BotoCoreError, ValueError) as error:  # ValueError: an invalid endpoint
        raise VicurError(
            f"the settings for S3 are invalid ({error}).", where=address, remedy=remedy_for(error, address)
        ) from error


@dataclass(frozen=True, eq=False)
class S3Folders:
    """Named folders below one address. Methods raise a :class:`VicurError` if S3 cannot be reached or denies the request."""

    address: str
    marker: str  # name of the file that is uploaded last to each folder
    client: Any

    @classmethod
    def at(cls, address: str, marker: str) -> S3Folders:
        split_address(address)  # raises an error for an invalid address
        return cls(address, marker, s3_client(address))

    def names(self) -> list[str]:
        """Return the names of the complete folders, sorted."""
        with s3_errors(self.address):
            keys = self._keys("")
        return sorted(key.split("/")[0] for key in keys if key.count("/") == 1 and key.endswith(f"/{self.marker}"))

    def read_marker(self, name: str) -> bytes | None:
        """Return the content of a folder's marker, or ``None`` if the folder does not exist."""
        with s3_errors(f"{self.address}/{name}"):
            try:
                response = self.client.get_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"))
            except self.client.exceptions.NoSuchKey:
                return None
            content: bytes = response["Body"].read()
            return content

    def put(self, folder: Path, name: str, mark: bytes | None = None) -> None:
        """Upload a folder as ``name``. Its marker is one of its files, or else has the content ``mark``."""
        # An interrupted upload may have left files there.
        self.remove(name)
        files = sorted(files_below(folder), key=lambda file: file == folder / self.marker)
        with s3_errors(f"{self.address}/{name}"):
            for file in files:
                key = self._key(f"{name}/{file.relative_to(folder).as_posix()}")
                self.client.upload_file(str(file), self._bucket, key)
            if mark is not None:
                self.client.put_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"), Body=mark)

    def mark(self, name: str, content: bytes) -> None:
        """Create a folder that consists of its marker only."""
        with s3_errors(f"{self.address}/{name}"):
            self.client.put_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"), Body=content)

    def share(self, folder: Path, name: str) -> bool:
        """Upload the missing files of a folder whose name identifies its content (a hash), and return whether any were missing.

        Several processes may call this and :meth:`get` at the same time, because nothing is removed or overwritten.
        """
        files = {file.relative_to(folder).as_posix(): file for file in files_below(folder)}
        with s3_errors(f"{self.address}/{name}"):
            sizes = self._sizes(f"{name}/")
            missing = [path for path, file in files.items() if sizes.get(f"{name}/{path}") != file.stat().st_size]
            for path in missing:
                self.client.upload_file(str(files[path]), self._bucket, self._key(f"{name}/{path}"))
            if incomplete := bool(missing) or f"{name}/{self.marker}" not in sizes:
                self.client.put_object(Bucket=self._bucket, Key=self._key(f"{name}/{self.marker}"), Body=b"")
        return incomplete

    def get(self, name: str, target: Path) -> None:
        """Download a folder to ``target``, completely or not at all.

        Raises:
            VicurError: if no complete folder has that name, or one of its keys would be written outside ``target``.
        """
        with s3_errors(f"{self.address}/{name}"), new_folder(target) as partial:
            keys = self._keys(f"{name}/")
            if f"{name}/{self.marker}" not in keys:
                raise VicurError(
                    f"does not exist or is incomplete (it has no {self.marker}).",
                    where=f"{self.address}/{name}",
                    remedy="Correct the address.",
                )
            for key in keys:
                # A key is any text that someone with write access chose, and may contain "..".
                place = (partial / key.removeprefix(f"{name}/")).resolve()
                if not place.is_relative_to(partial.resolve()):
                    raise VicurError(
                        "has a key that leads out of its folder.",
                        where=f"{self.address}/{key}",
                        remedy="Remove that object.",
                    )
                place.parent.mkdir(parents=True, exist_ok=True)
                self.client.download_file(self._bucket, self._key(key), str(place))

    def remove(self, name: str) -> None:
        # The marker first, so that an interruption does not leave half a folder that looks complete.
        with s3_errors(f"{self.address}/{name}"):
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

    def _keys(self, start: str) -> list[str]:
        return list(self._sizes(start))

    def _sizes(self, start: str) -> dict[str, int]:
        # Keys are relative to the address. A page has at most 1,000.
        prefix = self._key("")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix + start)
        return {
            entry["Key"].removeprefix(prefix): entry["Size"] for page in pages for entry in page.get("Contents", [])
        }


@contextmanager
def s3_errors(where: str) -> Iterator[None]:
    """Turn boto3's errors into a :class:`VicurError`, which is retryable unless S3 denied the request."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        no_credentials = (
            isinstance(error, NoCredentialsError | PartialCredentialsError) or type(error).__name__ in _LOGIN_ERRORS
        )
        raise VicurError(
            f"the S3 request failed ({str(error).splitlines()[0]}).",
            where=where,
            remedy=remedy_for(error, where),
            retryable=not no_credentials and error_code(error) not in _FINAL,
        ) from error


def error_code(error: Exception) -> str:
    """Return the code of an error response of S3 (``NoSuchKey``), or an empty string for other errors."""
    # Connection errors of botocore have a response too, which is None.
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def is_overloaded(error: Exception) -> bool:
    """Return whether a response of S3 says that the store cannot answer at present."""
    return _status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR or error_code(error) in _OVERLOADED


def _status(error: Exception) -> int:
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def remedy_for(error: Exception, address: str) -> str:
    """Return what to do about an error of boto3 at ``address``."""
    if error_code(error) == "SlowDown":
        return "The store has an internal problem or is overloaded: try again later, with fewer downloads at a time."
    if _status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "The store has an internal problem: try again, and read its log if it persists."
    code = error_code(error)
    if code in _DENIED and (permission := _PERMISSIONS.get(getattr(error, "operation_name", ""))):
        return f"Grant these credentials the permission {permission} on {address.removeprefix('s3://')}."
    if code:
        return _REMEDIES.get(code, "Check the address, the credentials and AWS_ENDPOINT_URL_S3.")
    if type(error).__name__ == "FlexibleChecksumError":
        return "The object or its transfer is damaged. Run it again. If that does not help, upload the object again."
    if type(error).__name__ in _LOGIN_ERRORS:
        return _REMEDIES["ExpiredToken"]
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (in a cluster: secret vicur-s3)."
    # The key is sent in a header, where a line break at its end (from a file or a secret) is invalid.
    if "Invalid header value" in str(error):
        return "Set AWS_ACCESS_KEY_ID to the key only: it contains a line break or a space."
    if isinstance(error, ValueError):
        return "Correct AWS_ENDPOINT_URL_S3 and AWS_DEFAULT_REGION, or AWS_PROFILE if it is set."
    return "Set AWS_ENDPOINT_URL_S3 to the store's address, and check that this machine or pod may reach it."
