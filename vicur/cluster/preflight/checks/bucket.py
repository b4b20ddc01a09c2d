"""Buckets: a probe object is written, read and deleted, as a run's files will be."""

from __future__ import annotations

import uuid

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_in_a_store_of_the_cluster
from vicur.cluster.preflight.registry import check
from vicur.storage.s3 import error_code, remedy_for, s3_client, split_address

PROBE = ".vicur-preflight"
"""Folder of the probe objects. Anything left in it can be deleted."""
_BODY = b"vicur preflight"
_SET_CHECKPOINTS = "Set checkpoints to s3://bucket/prefix"


@check("buckets", topic="services", when=lambda target: not target.needs.buckets)
def _no_bucket(target: Target) -> Finding:
    # A run in a cluster may do without on purpose.
    if target.for_cluster:
        return Finding(
            "warning",
            "a training whose pod is lost starts from the beginning, because its checkpoints are not stored on S3",
            f"{_SET_CHECKPOINTS}.",
        )
    return Finding(
        "failed",
        "no S3 address is configured for the checkpoints of trainings",
        f"{_SET_CHECKPOINTS}, or add --need 'buckets=[s3://bucket/prefix]'.",
    )


@check("bucket {}", topic="services", each=lambda target: target.needs.buckets)
def _bucket(target: Target, address: str) -> Finding:
    return unless_in_a_store_of_the_cluster(target, address, lambda: bucket(address))


def bucket(address: str) -> Finding:
    """Check that objects below ``s3://bucket/prefix`` can be written, read and deleted."""
    name, prefix = split_address(address)
    client = s3_client(address, impatient=True)
    from botocore.exceptions import BotoCoreError, ClientError

    key = "/".join(part for part in (prefix, PROBE, uuid.uuid4().hex) if part)
    # Names the step that fails.
    action = "written"
    try:
        client.put_object(Bucket=name, Key=key, Body=_BODY)
        action = "read"
        same = client.get_object(Bucket=name, Key=key)["Body"].read() == _BODY
        action = "deleted"
        client.delete_object(Bucket=name, Key=key)
    except ClientError as error:
        left = f" (s3://{name}/{key} remains there)" if action != "written" else ""
        message = f"{address}: a probe object cannot be {action}: {error_code(error)}{left}"
        return Finding("failed", message, remedy_for(error, address))
    except BotoCoreError as error:
        return Finding("failed", f"{address}: {str(error).splitlines()[0]}", remedy_for(error, address))
    if not same:
        return Finding(
            "failed",
            f"{address}: a probe object was read with other content than was written",
            "Look for a proxy between this machine and the store.",
        )
    return Finding("ok", f"{address}: a probe object was written, read and deleted")
