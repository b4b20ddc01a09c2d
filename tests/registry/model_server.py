"""``mlflow models serve`` for tests, and requests as a stranger sends them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tracking.server import free_port

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """Message of an error."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == self.status
        return str(error["message"])


class ModelServer:
    """A served model."""

    def __init__(self, model: Path, work: Path, **environment: str) -> None:
        self.port = free_port()
        self.model = model
        self.log = work / "server.log"
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "VICUR_"))}
        # The command runs `uvicorn` by name.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                env={**inherited, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **environment},
                cwd=work,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: if it ends.
        """
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            try:
                if self.get("/ping").status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def send(
        self, method: str, path: str, body: Any = b"", headers: dict[str, str] | None = None, timeout: float = 60
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.send("GET", path)

    def post(self, content: Any, path: str = "/invocations", **headers: str) -> Reply:
        """Send JSON; bytes are sent as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.send("POST", path, body, {**_JSON, **headers})

    def ask(self, *rows: Any, **params: Any) -> list[dict[str, Any]]:
        """Return the predictions of rows."""
        content: dict[str, Any] = {"dataframe_records": list(rows)}
        reply = self.post({**content, "params": params} if params else content)
        assert reply.status == 200, reply.body
        predictions: list[dict[str, Any]] = reply.json["predictions"]
        return predictions

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def memory(self, name: str = "VmRSS") -> float:
        """Return megabytes of memory; ``VmHWM`` is the peak."""
        text = Path(f"/proc/{self._worker()}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith(f"{name}:")).split()[1]) / 1024

    def reset_peak(self) -> None:
        Path(f"/proc/{self._worker()}/clear_refs").write_text("5")

    def _worker(self) -> int:
        # `mlflow models serve` starts the server as its only child.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])
