"""Errors of S3 say what to correct."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from tests.moto_s3 import empty_bucket, use_s3
from vicur.errors import VicurError
from vicur.storage.object_store import objects_at
from vicur.storage.s3 import s3_client, s3_errors


def response(code: str, operation: str = "GetObject", status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)


@pytest.mark.parametrize(
    ("error", "remedy", "retryable"),
    [
        (
            response("AccessDenied", "ListObjectsV2"),
            "Grant these credentials the permission s3:ListBucket on b/x",
            False,
        ),
        (response("403", "HeadObject"), "the permission s3:GetObject on b/x", False),
        (response("NoSuchBucket"), "Create the bucket", False),
        (response("SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY", False),
        (response("SlowDown", status=503), "internal problem", True),
        (response("RequestTimeout"), "Check the address", True),
        (NoCredentialsError(), "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", False),
        (EndpointConnectionError(endpoint_url="http://s3"), "Set AWS_ENDPOINT_URL_S3", True),
    ],
)
def test_each_error_has_a_remedy_and_only_some_are_retryable(error: Exception, remedy: str, retryable: bool) -> None:
    with pytest.raises(VicurError) as caught, s3_errors("s3://b/x"):
        raise error
    assert remedy in caught.value.remedy
    assert caught.value.retryable == retryable
    assert caught.value.where == "s3://b/x"


def test_an_invalid_endpoint_is_reported_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no address")
    with pytest.raises(VicurError, match="Correct AWS_ENDPOINT_URL_S3"):
        s3_client("s3://b/x")


@pytest.mark.parametrize("key", ["data/examples.jsonl", "database/examples.jsonl"])
def test_an_address_is_empty_if_nothing_is_below_it(
    s3_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    use_s3(s3_address, monkeypatch)
    (tmp_path / key).parent.mkdir()
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / key).touch()
    with empty_bucket("bucket") as bucket:
        bucket.put_object(Key=key, Body=b"")
        for address in ("s3://bucket/data", "s3://bucket/data/", str(tmp_path / "data")):
            assert objects_at(address).is_empty() == (not key.startswith("data/"))
