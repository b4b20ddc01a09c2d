from __future__ import annotations

import os
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


def test_the_address_is_the_configurations_then_the_environments_then_the_embedded_stores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tracking_uri(TrackingConfig()) == EMBEDDED_URI
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert tracking_uri(TrackingConfig()) == "http://environment"
    assert tracking_uri(TrackingConfig(uri="http://configuration")) == "http://configuration"


def test_the_address_that_comes_with_a_platforms_run_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://platform")
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    assert tracking_uri(TrackingConfig(uri="http://configuration")) == "http://platform"


def test_the_embedded_store_stands_below_the_project(project: Path) -> None:
    client = connect(TrackingConfig())
    experiment = client.get_experiment(experiment_id(client, TrackingConfig()))
    assert (project / "mlflow/mlflow.db").is_file()
    assert experiment.artifact_location == (project / "mlflow/artifacts").as_uri()
    assert sorted(p.name for p in project.iterdir()) == ["mlflow"], "nothing else is left in the user's folder"


def test_artifacts_of_a_store_elsewhere_go_beside_it(project: Path) -> None:
    config = TrackingConfig(uri=f"sqlite:///{project / 'elsewhere' / 'mine.db'}")
    client = connect(config)
    location = client.get_experiment(experiment_id(client, config)).artifact_location
    assert location == (project / "elsewhere/artifacts").as_uri()


def test_a_server_gives_its_own_experiments(server: Server) -> None:
    config = TrackingConfig(uri=server.uri, experiment="of a server")
    client = connect(config)
    assert experiment_id(client, config) == experiment_id(client, config)
    assert client.get_experiment_by_name("of a server").artifact_location.startswith("mlflow-artifacts:")


def test_a_dead_server_is_told_quickly_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_user_and_password_of_the_address_are_sent_and_appear_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_server_that_does_not_know_our_host_name_is_told_as_that() -> None:
    server = answer(403, b"Invalid Host header - possible DNS rebinding attack detected")
    try:
        with pytest.raises(VicurError, match="--allowed-hosts"):
            connect(TrackingConfig(uri=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()


def test_an_address_that_is_no_mlflow_is_told_as_that() -> None:
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
def test_an_address_that_cannot_be_used_is_one_clear_message(uri: str) -> None:
    with pytest.raises(VicurError, match="neither the address of an MLflow server nor a SQLite file"):
        connect(TrackingConfig(uri=uri))


@pytest.mark.parametrize("uri", ["http://ann:hunter2@host:5000", "https://hunter2@host", "https://host/?token=hunter2"])
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(VicurError, match=r"must not contain a password.*MLFLOW_TRACKING_PASSWORD") as caught:
        load_config(None, [f"tracking.uri={uri}"])
    assert "hunter2" not in str(caught.value)


def test_a_store_in_a_place_that_cannot_be_written_is_told_at_once(project: Path) -> None:
    (project / "file").write_text("in the way")
    with pytest.raises(VicurError, match="cannot be written"):
        connect(TrackingConfig(uri=f"sqlite:///{project}/file/mlflow.db"))


def test_a_file_that_is_no_database_is_told_at_once_and_left_alone(project: Path) -> None:
    (project / "mlflow.db").write_text("not a database, but somebody's notes " * 100)
    with pytest.raises(VicurError, match="not a database"):
        connect(TrackingConfig(uri="sqlite:///mlflow.db"))
    assert (project / "mlflow.db").read_text().startswith("not a database")


def test_a_store_of_another_release_is_told_with_the_command_that_upgrades_it(project: Path) -> None:
    connect(TrackingConfig())
    with sqlite3.connect(project / "mlflow/mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'deadbeef0000'")
    code = "from vicur.config.tracking import TrackingConfig; from vicur.tracking.mlflow import connect; connect(TrackingConfig())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert "VicurError" in done.stderr
    assert "mlflow db upgrade" in done.stderr.splitlines()[-1]


def test_a_deleted_experiment_is_told_with_the_command_that_restores_it() -> None:
    client = connect(TrackingConfig())
    client.delete_experiment(experiment_id(client, TrackingConfig()))
    with pytest.raises(VicurError, match="mlflow experiments restore"):
        experiment_id(client, TrackingConfig())


def test_tracking_is_imported_without_mlflow() -> None:
    code = "import sys, vicur.tracking.tracker; assert not any(m.startswith(('mlflow', 'torch', 'pandas')) for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_is_told_with_what_to_install(project: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from vicur.config.tracking import TrackingConfig\nfrom vicur.tracking.mlflow import connect\n"
        "connect(TrackingConfig())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=project)
    assert "Install vicur[local]" in done.stderr.splitlines()[-1]
