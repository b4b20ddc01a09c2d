"""Double of the server at which Kubeflow Trainer 2.2 and 2.3 accept the progress of a TrainJob from its pods.

Written from its source (pkg/statusserver): HTTPS with the webhook's certificate, one path for each job, a bearer token with the job as its
audience, and errors as ``Status`` objects.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.cluster.trainjob_schemas import schema_of

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/vicur/trainjobs/{job}/status"
_TOKEN = "token-of-this-pod"  # noqa: S105
_SCHEMA = schema_of("2.3")["properties"]["status"]["properties"]["trainerStatus"]


@dataclass
class TrainerStatusDouble:
    """The server, and what it has accepted."""

    environment: dict[str, str]
    """Variables that Trainer sets in the job's pods."""
    accepted: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0


def _answer(double: TrainerStatusDouble, path: str, handler: BaseHTTPRequestHandler) -> tuple[int, Any]:
    double.requests += 1
    body = handler.rfile.read(int(handler.headers["Content-Length"]))
    if handler.path != path:
        return 404, _status(404, "NotFound", "Not found")
    if handler.headers["Authorization"] != f"Bearer {_TOKEN}":
        return 403, _status(403, "Forbidden", "Forbidden")
    content = json.loads(body)
    found = content["trainerStatus"]
    wrong = [error.message for error in Draft202012Validator(_SCHEMA).iter_errors(found)]
    wrong += [f"unknown {name}" for name in found.keys() - _SCHEMA["properties"].keys()]
    # A rule of the definition that is not part of the schema.
    if wrong or "lastUpdatedTime" not in found:
        return 422, _status(422, "Invalid", "; ".join(wrong) or "lastUpdatedTime is required")
    double.accepted.append(found)
    return 200, content


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


@contextmanager
def trainer_status_server(folder: Path, job: str) -> Iterator[TrainerStatusDouble]:
    """Serve the status of ``job``. ``folder`` gets the files that Trainer mounts into the job's pods."""
    folder.mkdir(parents=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-out", "ca.crt", "-days", "2", *names],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "token").write_text(f"{_TOKEN}\n")
    path = PATH.format(job=job)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            code, content = _answer(double, path, self)
            answer = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    double = TrainerStatusDouble(
        {
            "KUBEFLOW_TRAINER_SERVER_URL": f"https://127.0.0.1:{server.server_port}{path}",
            "KUBEFLOW_TRAINER_SERVER_CA_CERT": str(folder / "ca.crt"),
            "KUBEFLOW_TRAINER_SERVER_TOKEN": str(folder / "token"),
        }
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
