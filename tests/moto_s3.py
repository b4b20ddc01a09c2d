"""An S3 server in this process (moto), which does not check credentials."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[str]:
    """Run the server and yield its address."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def use_s3(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point boto3 at the server, in this process and its children."""
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@cache
def _resource(address: str) -> Any:
    # A new session loads the descriptions of all services, which takes up to half a second.
    session = boto3.session.Session("test", "test", region_name="us-east-1")
    return session.resource("s3", endpoint_url=address)


@contextmanager
def empty_bucket(name: str) -> Iterator[Any]:
    """Create a bucket as a boto3 resource, and delete it with its content afterwards."""
    bucket = _resource(os.environ["AWS_ENDPOINT_URL"]).Bucket(name)
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
