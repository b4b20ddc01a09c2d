"""Places on S3: a probe object is written, read and removed, as a run's files will be."""

from __future__ import annotations

import uuid

from vicur.cluster.preflight.finding import Finding
from vicur.storage.s3 import error_code, remedy_for, s3_client, split_address

PROBE = ".vicur-preflight"
"""Where probe objects lie below a place; what is found there can be removed."""
_BODY = b"vicur preflight"


def bucket(address: str) -> Finding:
    """Whether objects below ``s3://bucket/prefix`` can be written, read and removed.

    Credentials, region and endpoint are boto3's own (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL_S3``, a service account's role).

    Raises:
        VicurError: where the address is none, or boto3 is missing.
    """
    name, prefix = split_address(address)
    client = s3_client(address, impatient=True)
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
        left = f" (s3://{name}/{key} is left there)" if doing != "written" else ""
        return Finding(
            "failed",
            f"{address}: a probe object cannot be {doing}: {error_code(error)}{left}",
            remedy_for(error, address),
        )
    except BotoCoreError as error:
        return Finding("failed", _first_line(address, error), remedy_for(error, address))
    if not same:
        return Finding("failed", f"{address}: a probe object came back changed", "Look for a proxy in between.")
    return Finding("ok", f"{address}: a probe object was written, read and removed")


def first_objects(address: str, limit: int) -> list[str] | Finding:
    """Names of what lies below ``s3://bucket/prefix``, up to ``limit`` of them; a finding where it cannot be listed.

    Raises:
        VicurError: where the address is none, or boto3 is missing.
    """
    name, prefix = split_address(address)
    client = s3_client(address, impatient=True)
    from botocore.exceptions import BotoCoreError, ClientError

    start = f"{prefix}/" if prefix else ""
    try:
        listed = client.list_objects_v2(Bucket=name, Prefix=start, MaxKeys=limit).get("Contents", [])
    except (BotoCoreError, ClientError) as error:
        return Finding("failed", _first_line(address, error), remedy_for(error, address))
    return [str(entry["Key"]).removeprefix(start) for entry in listed]


def _first_line(address: str, error: Exception) -> str:
    return f"{address}: {str(error).partition(chr(10))[0]}"
