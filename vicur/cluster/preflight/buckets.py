"""Places on S3: a probe object is written, read and removed, as a run's files will be."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from vicur.cluster.preflight.finding import Finding
from vicur.errors import VicurError
from vicur.storage.s3 import split_address

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

PROBE = ".vicur-preflight"
"""Where probe objects lie below a place; what is found there can be removed."""
_BODY = b"vicur preflight"
_REMEDIES = {
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "InvalidAccessKeyId": "The access key is unknown there: correct AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL_S3.",
    "SignatureDoesNotMatch": "The secret key is wrong: correct AWS_SECRET_ACCESS_KEY.",
    "ExpiredToken": "The session has expired: log in again.",
}
_TROUBLE = "The store is in trouble: try again, and read its log if it stays."
_RIGHTS = {"written": "s3:PutObject", "read": "s3:GetObject", "removed": "s3:DeleteObject"}


def bucket(address: str) -> Finding:
    """Whether objects below ``s3://bucket/prefix`` can be written, read and removed.

    Credentials, region and endpoint are boto3's own (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL_S3``, a service account's role).

    Raises:
        VicurError: where the address is none, or boto3 is missing.
    """
    name, prefix = split_address(address)
    client = impatient_client()
    from botocore.exceptions import BotoCoreError, ClientError

    key = "/".join(part for part in (prefix, PROBE, uuid.uuid4().hex) if part)
    doing = "written"
    try:
        client.put_object(Bucket=name, Key=key, Body=_BODY)
        doing = "read"
        same = client.get_object(Bucket=name, Key=key)["Body"].read() == _BODY
        doing = "removed"
        client.delete_object(Bucket=name, Key=key)
    except ClientError as error:
        code = str(error.response["Error"].get("Code", ""))
        left = f" (s3://{name}/{key} is left there)" if doing != "written" else ""
        remedy = remedy_for(error, _RIGHTS[doing], f"{name}/{prefix or '*'}")
        return Finding("failed", f"{address}: a probe object cannot be {doing}: {code}{left}", remedy)
    except BotoCoreError as error:
        return Finding("failed", _first_line(address, error), network_remedy(error))
    if not same:
        return Finding("failed", f"{address}: a probe object came back changed", "Look for a proxy in between.")
    return Finding("ok", f"{address}: a probe object was written, read and removed")


def first_objects(address: str, limit: int) -> list[str] | Finding:
    """Names of what lies below ``s3://bucket/prefix``, up to ``limit`` of them; a finding where it cannot be listed.

    Raises:
        VicurError: where the address is none, or boto3 is missing.
    """
    name, prefix = split_address(address)
    client = impatient_client()
    from botocore.exceptions import BotoCoreError, ClientError

    start = f"{prefix}/" if prefix else ""
    try:
        listed = client.list_objects_v2(Bucket=name, Prefix=start, MaxKeys=limit).get("Contents", [])
    except ClientError as error:
        return Finding("failed", _first_line(address, error), remedy_for(error, "s3:ListBucket", name))
    except BotoCoreError as error:
        return Finding("failed", _first_line(address, error), network_remedy(error))
    return [str(entry["Key"]).removeprefix(start) for entry in listed]


def remedy_for(error: ClientError, right: str, place: str) -> str:
    """What to do where the store has answered, and refuses.

    Args:
        error: its answer.
        right: what was needed.
        place: on what.
    """
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _TROUBLE
    code = str(error.response["Error"].get("Code", ""))
    return _REMEDIES.get(code, f"Give these credentials the right {right} on {place}.")


def _first_line(address: str, error: Exception) -> str:
    return f"{address}: {str(error).partition(chr(10))[0]}"


def impatient_client() -> Any:
    """A client of S3 that gives up after seconds. It has a session of its own: the default one is not made for several threads.

    Raises:
        VicurError: where boto3 is missing, or no region or endpoint can be made out.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, PartialCredentialsError
    except ImportError as error:
        raise VicurError("boto3 is not installed.", remedy="Install 'vicur[tracking]'.") from error
    settings = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        return Session().client("s3", config=settings)
    except PartialCredentialsError as error:
        raise VicurError(f"S3 cannot be reached ({error}).", remedy=network_remedy(error)) from error
    except (BotoCoreError, ValueError) as error:
        raise VicurError(
            f"S3 cannot be reached ({error}).",
            remedy="Correct AWS_ENDPOINT_URL_S3 and AWS_DEFAULT_REGION, or AWS_PROFILE where it is set.",
        ) from error


def network_remedy(error: Exception) -> str:
    """What to do where no store has answered."""
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (in a cluster: secret vicur-s3)."
    if "Invalid header value" in str(error):
        return "Set AWS_ACCESS_KEY_ID to the key alone: it holds a line break or a blank."
    return "Set AWS_ENDPOINT_URL_S3 to the store's address, and check that this machine or pod may reach it."
