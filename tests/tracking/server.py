"""A real MLflow server for tests, by default with SQLite and a folder of artifacts. One is shared by all tests of a process."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

# Variables that would lead a test to the developer's own MLflow.
ENVIRONMENT = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """An MLflow server, which can be stopped and started again with the same store."""

    folder: Path
    port: int
    host: str = "127.0.0.1"
    admin: tuple[str, str] | None = None
    """User and password of the administrator of a server that requires basic auth."""
    database: str | None = None
    """Address of the store's database. Default: a SQLite file in ``folder``."""
    users: str | None = None
    """Address of the database of users. Default: another SQLite file."""
    artifacts: str | None = None
    """Where the server stores the artifacts that it proxies. Default: a folder in ``folder``."""
    allowed_hosts: str | None = None
    """Host names that requests may have. Default: MLflow's."""
    variables: dict[str, str] = field(default_factory=dict)
    """Further environment variables of the server."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        store = self.database or f"sqlite:///{self.folder / 'mlflow.db'}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", self.host, "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", store, "--serve-artifacts"]
        command += ["--artifacts-destination", self.artifacts or str(self.folder / "artifacts")]
        if self.allowed_hosts is not None:
            command += ["--allowed-hosts", self.allowed_hosts]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment |= self.variables
        if self.admin is not None:
            command += ["--app-name", "basic-auth"]
            environment |= self._basic_auth(*self.admin)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        atexit.register(self.stop)
        self._wait()

    def _basic_auth(self, user: str, password: str) -> dict[str, str]:
        settings = {
            "default_permission": "READ",
            "database_uri": self.users or f"sqlite:///{self.folder / 'users.db'}",
            "admin_username": user,
            "admin_password": password,
            "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
            # As in k8s/components/mlflow. Otherwise each request costs a quarter of a second for the hash of its password.
            "auth_cache_max_size": "10000",
            "auth_cache_ttl_seconds": "60",
        }
        file = self.folder / "auth.ini"
        file.write_text("[mlflow]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        return {"MLFLOW_AUTH_CONFIG_PATH": str(file), "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef"}

    def _wait(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):  # noqa: S310 (our own address)
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError((self.folder / "server.log").read_text())

    def ensure_started(self) -> None:
        """Start the server again if a test has left it stopped."""
        if self.process is None or self.process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """End the server at once, as a node that fails."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if self.process is not None and self.process.poll() is None:
            # The server and its workers, which are in one session.
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(60)


@cache
def shared_server() -> Server:
    """Return the server that the tests of this process share."""
    folder = tempfile.TemporaryDirectory(prefix="vicur-mlflow-")
    atexit.register(folder.cleanup)
    server = Server(Path(folder.name), free_port())
    server.start()
    return server
