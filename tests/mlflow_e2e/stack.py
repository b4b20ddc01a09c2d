"""MLflow as a team runs it: PostgreSQL, an S3 store that it proxies, users with passwords, and accepted host names. All on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import requests

from tests.absent import absent
from tests.k8s.postgres import postgres
from tests.seaweed import KEY, SECRET, seaweed
from tests.tracking.server import Server, free_port

ADMIN = ("admin", "an administrator's password")
USER = ("pipeline", "the pipeline's long password")
_DATABASE_PASSWORD = "database"  # noqa: S105 (of a server that lives for one test)
BUCKET = "vicur-mlflow"
_MEGABYTES = 600


@dataclass(frozen=True)
class Stack:
    """The servers, and the folder of the small disk that the store writes to."""

    server: Server
    disk: Path
    store: dict[str, str]
    """Environment variables with the address and the credentials of the store."""

    def bucket(self) -> Any:
        """Return the bucket as a boto3 resource."""
        session = boto3.session.Session(KEY, SECRET, region_name=self.store["AWS_DEFAULT_REGION"])
        return session.resource("s3", endpoint_url=self.store["AWS_ENDPOINT_URL"]).Bucket(BUCKET)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room on the disk of the store."""
        filler = self.disk / "filler"
        state = os.statvfs(self.disk)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize)
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """Start all servers, with a user of the pipeline who is not an administrator."""
    with ExitStack() as running:
        disk = running.enter_context(_small_disk(folder / "disk"))
        port = running.enter_context(postgres("mlflow", _DATABASE_PASSWORD, "mlflow"))
        store = {
            "AWS_ENDPOINT_URL": running.enter_context(seaweed(disk / "store")),
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        (folder / "server").mkdir()
        started = Stack(_server(folder / "server", port, store), disk, store)
        started.bucket().create()
        # Creates the volumes: without any, a request would wait for room on a full disk in place of failing.
        started.bucket().put_object(Key="first", Body=b"first")
        started.server.start()
        running.callback(started.server.stop)
        user = {"username": USER[0], "password": USER[1]}
        address = f"{started.server.uri}/api/2.0/mlflow/users/create"
        requests.post(address, json=user, auth=ADMIN, timeout=60).raise_for_status()
        yield started


def _server(folder: Path, database_port: int, store: dict[str, str]) -> Server:
    database = f"postgresql+psycopg2://mlflow:{_DATABASE_PASSWORD}@127.0.0.1:{database_port}/mlflow"
    return Server(
        folder,
        free_port(),
        admin=ADMIN,
        database=database,
        users=database,
        artifacts=f"s3://{BUCKET}/artifacts",
        # The proxy of the tests, and the server itself. Not localhost.
        allowed_hosts="127.0.0.1:*",
        # MLflow's client repeats requests, so that the server need not.
        variables={**store, "AWS_MAX_ATTEMPTS": "1"},
    )


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system in memory that is small enough to fill."""
    folder.mkdir()
    size = f"size={_MEGABYTES}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode != 0:
        absent(f"a disk to fill cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
