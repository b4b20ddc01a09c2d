"""Connecting to MLflow: which address is used, and what is reported if it does not work."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from tests.tracking.server import Server, free_port
from vicur.config.loading import load_config
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.tracking.mlflow import EMBEDDED_URI, connect, tracking_uri
from vicur.tracking.runs import experiment_id


def test_configured_address_takes_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tracking_uri(TrackingConfig()) == EMBEDDED_URI
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert tracking_uri(TrackingConfig()) == "http://environment"
    assert tracking_uri(TrackingConfig(uri="http://configuration")) == "http://configuration"


def test_address_of_a_platform_run_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://platform")
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    assert tracking_uri(TrackingConfig(uri="http://configuration")) == "http://platform"


def test_embedded_store_is_created_below_the_project(project: Path) -> None:
    client = connect(TrackingConfig())
    experiment = client.get_experiment(experiment_id(client, TrackingConfig()))
    assert (project / "mlflow/mlflow.db").is_file()
    assert experiment.artifact_location == (project / "mlflow/artifacts").as_uri()
    assert sorted(p.name for p in project.iterdir()) == ["mlflow"], "nothing else is created in the user's folder"


def test_artifacts_of_an_embedded_store_are_stored_next_to_it(project: Path, empty_store: Path) -> None:
    shutil.copytree(empty_store, "elsewhere")
    config = TrackingConfig(uri=f"sqlite:///{project / 'elsewhere' / 'mlflow.db'}")
    client = connect(config)
    location = client.get_experiment(experiment_id(client, config)).artifact_location
    assert location == (project / "elsewhere/artifacts").as_uri()


def test_experiment_of_a_server_has_proxied_artifacts(server: Server) -> None:
    config = TrackingConfig(uri=server.uri, experiment="of a server")
    client = connect(config)
    assert experiment_id(client, config) == experiment_id(client, config)
    assert client.get_experiment_by_name("of a server").artifact_location.startswith("mlflow-artifacts:")


def test_unreachable_server_is_reported_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:secret@127.0.0.1:{free_port()}")
    with pytest.raises(VicurError, match=r"does not respond \(Connection refused\)\. Start the server") as caught:
        connect(TrackingConfig())
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    assert "ann" not in str(caught.value)


def answer(status: int, body: bytes) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        seen: ClassVar[dict[str, str]] = {}

        def do_POST(self) -> None:
            type(self).seen = dict(self.headers)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_credentials_in_the_address_are_sent_but_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    server = answer(401, b'{"error_code": "UNAUTHENTICATED", "message": "who are you?"}')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s%40cret@127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(VicurError, match=r"rejected the credentials.*MLFLOW_TRACKING_USERNAME") as caught:
            connect(TrackingConfig())
    finally:
        server.shutdown()
    assert server.RequestHandlerClass.seen["Authorization"] == "Basic YW5uOnNAY3JldA=="  # type: ignore[attr-defined]
    assert not caught.value.retryable
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"Permission denied", b'{"error_code": "PERMISSION_DENIED", "message": "no"}'])
def test_a_missing_permission_is_not_temporary(body: bytes) -> None:
    server = answer(403, body)
    try:
        with pytest.raises(VicurError, match="MLflow denied the request") as caught:
            connect(TrackingConfig(uri=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
    assert not caught.value.retryable


def test_rejected_host_name_is_reported() -> None:
    server = answer(403, b"Invalid Host header - possible DNS rebinding attack detected")
    try:
        with pytest.raises(VicurError, match="--allowed-hosts"):
            connect(TrackingConfig(uri=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()


def test_server_that_is_not_mlflow_is_reported() -> None:
    server = answer(200, b"<html>hello</html>")
    try:
        with pytest.raises(VicurError, match="MLflow"):
            connect(TrackingConfig(uri=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://host/x",
        "sqlite:///",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://127.0.0.1:1/x",
        "nonsense://",
        "http://[::1",
    ],
)
def test_invalid_address_is_reported(uri: str) -> None:
    with pytest.raises(VicurError, match="neither the address of an MLflow server nor a SQLite file"):
        connect(TrackingConfig(uri=uri))


@pytest.mark.parametrize("uri", ["http://ann:hunter2@host:5000", "https://hunter2@host", "https://host/?token=hunter2"])
def test_secret_in_a_configured_address_is_rejected_and_not_shown(uri: str) -> None:
    with pytest.raises(VicurError, match=r"must not contain a password.*MLFLOW_TRACKING_PASSWORD") as caught:
        load_config(None, [f"tracking.uri={uri}"])
    assert "hunter2" not in str(caught.value)


def test_store_that_cannot_be_written_is_reported(project: Path) -> None:
    (project / "file").write_text("in the way")
    with pytest.raises(VicurError, match="cannot be written"):
        connect(TrackingConfig(uri=f"sqlite:///{project}/file/mlflow.db"))


def test_file_that_is_not_a_database_is_reported_and_not_changed(project: Path) -> None:
    (project / "mlflow.db").write_text("not a database, but somebody's notes " * 100)
    with pytest.raises(VicurError, match="not a database"):
        connect(TrackingConfig(uri="sqlite:///mlflow.db"))
    assert (project / "mlflow.db").read_text().startswith("not a database")


def test_store_of_another_release_is_reported_with_the_upgrade_command(embedded: TrackingConfig) -> None:
    with sqlite3.connect("mlflow/mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'deadbeef0000'")
    with pytest.raises(VicurError, match=r"another release of MLflow.*mlflow db upgrade"):
        connect(embedded)


def test_deleted_experiment_is_reported_with_how_to_restore_it(embedded: TrackingConfig) -> None:
    client = connect(embedded)
    client.delete_experiment(experiment_id(client, embedded))
    with pytest.raises(VicurError, match="mlflow experiments restore"):
        experiment_id(client, embedded)


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = "import sys, vicur.tracking.tracker; assert not any(m.startswith(('mlflow', 'torch', 'pandas')) for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_package_is_reported_with_what_to_install(project: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from vicur.config.tracking import TrackingConfig\nfrom vicur.tracking.mlflow import connect\n"
        "connect(TrackingConfig())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=project)
    assert "Install vicur[local]" in done.stderr.splitlines()[-1]
