"""A real PostgreSQL for tests, from Debian's package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.absent import absent
from tests.tracking.server import free_port


@contextmanager
def postgres(user: str, password: str, database: str) -> Iterator[int]:
    """Run a server with one superuser, who needs the password, and one database. Yields its port."""
    # Not in pytest's temporary folder, which other users, such as PostgreSQL's, cannot read.
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        _serving(Path(folder), user, password, database) as port,
    ):
        yield port


@contextmanager
def _serving(folder: Path, user: str, password: str, database: str) -> Iterator[int]:
    """Run a server with its files in an empty folder."""
    programs = _programs()
    # The server refuses to run as root. The package creates a user for it.
    runs_as = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    if runs_as:
        shutil.chown(folder, "postgres", "postgres")
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)
    cluster, port = folder / "cluster", free_port()
    initialise = [programs / "initdb", "-D", cluster, "-U", user, "-A", "scram-sha-256", f"--pwfile={secret}", "-N"]
    subprocess.run(initialise, check=True, capture_output=True, cwd=folder, **runs_as)
    settings = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    server = subprocess.Popen(
        [programs / "postgres", "-D", cluster, "-c", "fsync=off", *settings],
        cwd=folder,
        stderr=subprocess.DEVNULL,
        **runs_as,
    )
    environment = {**os.environ, "PGPASSWORD": password}
    at = ["-h", "127.0.0.1", "-p", str(port), "-U", user]
    try:
        for _ in range(100):
            ready = subprocess.run([programs / "pg_isready", "-t", "1", *at], check=False, capture_output=True)
            if ready.returncode == 0:
                break
        subprocess.run([programs / "createdb", *at, database], check=True, env=environment)
        yield port
    finally:
        # SIGINT: a fast shutdown, which does not wait for clients.
        server.send_signal(signal.SIGINT)
        server.wait(30)


def _programs() -> Path:
    """Return the folder of the programs. Without them, the test is skipped or fails."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        absent("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent
