"""The commands in MLflow's manifests, run with a real PostgreSQL, basic auth and moto as S3.

Only the addresses of database, server and S3 are replaced. A command gets the variables and files that its own pod has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer

from tests.k8s.pod_files import PodFiles
from tests.k8s.postgres import postgres
from tests.k8s.render import pod_templates, rendered
from tests.tracking.server import free_port
from vicur.cluster.install.mlflow_user import SCRIPT

ADMIN = ("admin", "correct horse battery")
SECRETS = {
    "vicur-mlflow-server": {
        "PGPASSWORD": "p@ss/word:#1",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef",
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
    },
    "vicur-s3": {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
}
"""The database's password would break an address that contained it."""


@dataclass(frozen=True)
class Deployed:
    """A running server."""

    port: int
    environment: dict[str, str]
    s3: str
    working_directory: Path

    def request(self, method: str, path: str, body: Any = None, host: str = "mlflow:5000", user: Any = None) -> Any:
        """Return status and JSON of a response."""
        headers = {"Host": host, "Content-Type": "application/json"}
        if user:
            headers["Authorization"] = "Basic " + b64encode(":".join(user).encode()).decode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text


def s3_client(address: str) -> Any:
    """Return an S3 client."""
    keys = {name.lower(): value for name, value in SECRETS["vicur-s3"].items()}
    return boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)


@dataclass(frozen=True)
class Workload:
    """The command of one of the overlay's pods, with the variables and files that its manifest gives it."""

    command: list[str]
    environment: dict[str, str]

    def start(self, working_directory: Path, log: Path, **replaced: str) -> subprocess.Popen[bytes]:
        """Start the command as a session of its own. ``replaced`` are words of the command."""
        working_directory.mkdir()
        command = [replaced.get(word, word) for word in self.command]
        with log.open("wb") as stream:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=working_directory,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )


def workload(manifests: list[Any], name: str, folder: Path, s3: str, database: int) -> Workload:
    """Return a workload, with its mounts in ``folder``."""
    addresses = {"mlflow-db:5432": f"127.0.0.1:{database}", endpoints(manifests)["AWS_ENDPOINT_URL_S3"]: s3}

    def edit(text: str) -> str:
        for deployed_at, here in addresses.items():
            text = text.replace(deployed_at, here)
        return text

    (template,) = [t for title, t in pod_templates(manifests).items() if title.startswith(name)]
    files = PodFiles(folder, template, manifests, edit)
    # The image's program is found in this virtual environment.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "PG"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return Workload(files.container["command"], {**inherited, **files.environment(SECRETS), "PATH": path})


def endpoints(manifests: list[Any]) -> dict[str, str]:
    (found,) = [m["data"] for m in manifests if (m["kind"], m["metadata"]["name"]) == ("ConfigMap", "vicur-endpoints")]
    return dict(found)


def wait_until_ready(deployed: Deployed, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            # A kubelet uses the pod's address.
            if deployed.request("GET", "/health", host="10.244.1.17:5000")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError(log.read_text())


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    manifests = rendered("overlays/gpu-pool")
    folder = tmp_path_factory.mktemp("mlflow")
    objects = ThreadedMotoServer("127.0.0.1", port=0)
    objects.start()
    s3 = "http://{}:{}".format(*objects.get_host_and_port())
    s3_client(s3).create_bucket(Bucket="vicur-mlflow")
    with postgres("mlflow", SECRETS["vicur-mlflow-server"]["PGPASSWORD"], "mlflow") as database:
        migration = workload(manifests, "Job/mlflow-migrate", folder / "job", s3, database)
        first = migration.start(folder / "first", folder / "first.log")
        assert first.wait(180) == 0, (folder / "first.log").read_text()
        port, log, working_directory = free_port(), folder / "server.log", folder / "root"
        pod = workload(manifests, "Deployment/mlflow", folder / "pod", s3, database)
        server = pod.start(
            working_directory,
            log,
            **{"0.0.0.0": "127.0.0.1", "5000": str(port)},  # noqa: S104 (taken out)
        )
        # As in an upgrade to the same release: the job runs while servers start, and may change no table.
        second = migration.start(folder / "second", folder / "second.log")
        try:
            found = Deployed(port, pod.environment, s3, working_directory)
            wait_until_ready(found, server, log)
            assert second.wait(180) == 0, (folder / "second.log").read_text()
            yield found
        finally:
            # Nothing of them is needed any more, so there is no need to wait for a graceful shutdown.
            for process in (server, second):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)
            objects.stop()


SEARCH = "/api/2.0/mlflow/experiments/search"


def test_password_is_required(deployed: Deployed) -> None:
    assert deployed.request("POST", SEARCH, {"max_results": 1})[0] == 401
    assert deployed.request("POST", SEARCH, {"max_results": 1}, user=("admin", "password1234"))[0] == 401


def test_admin_of_the_secret_may_log_in(deployed: Deployed) -> None:
    status, found = deployed.request("POST", SEARCH, {"max_results": 5}, user=ADMIN)
    assert status == 200
    assert [e["name"] for e in found["experiments"]] == ["Default"]


@pytest.mark.parametrize(
    "name", ["mlflow", "mlflow.vicur", "mlflow.vicur.svc", "mlflow.vicur.svc.cluster.local", "localhost"]
)
@pytest.mark.parametrize("port", ["", ":5000"])
def test_each_name_of_the_server_is_allowed(deployed: Deployed, name: str, port: str) -> None:
    assert deployed.request("POST", SEARCH, {"max_results": 1}, host=name + port, user=ADMIN)[0] == 200


def test_other_name_is_rejected(deployed: Deployed) -> None:
    status, text = deployed.request("POST", SEARCH, {"max_results": 1}, host="evil.example.com", user=ADMIN)
    assert status == 403
    assert "Invalid Host header" in text


def test_user_may_write_its_own_experiments_and_read_others(deployed: Deployed) -> None:
    user, other = ("vicur", "a longer password 1"), ("someone", "a longer password 2")
    for name, password in (user, other):
        body = {"username": name, "password": password}
        assert deployed.request("POST", "/api/2.0/mlflow/users/create", body, user=ADMIN)[0] == 200
    status, created = deployed.request("POST", "/api/2.0/mlflow/experiments/create", {"name": "distill"}, user=user)
    assert status == 200
    run = {"experiment_id": created["experiment_id"]}
    assert deployed.request("POST", "/api/2.0/mlflow/runs/create", run, user=user)[0] == 200
    assert (
        deployed.request("GET", f"/api/2.0/mlflow/experiments/get?experiment_id={run['experiment_id']}", user=other)[0]
        == 200
    )
    assert deployed.request("POST", "/api/2.0/mlflow/runs/create", run, user=other)[0] == 403


def test_installation_creates_the_pipelines_user_once(deployed: Deployed) -> None:
    password = ", ".join(("a password", "ünïcode"))

    def create(name: str, password: str, **changed: str) -> str:
        # The command that `vicur install` runs in the server's container, which has these variables. Only the port differs.
        script = SCRIPT.read_text(encoding="utf-8").replace("127.0.0.1:5000", f"127.0.0.1:{deployed.port}")
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps({"username": name, "password": password}),
            env={**deployed.environment, **changed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert create("pipeline", password) == "created"
    assert create("pipeline", password) == "exists"
    assert create("pipeline", "another password") == "other-password"
    assert create("second", password, **{"MLFLOW_AUTH_ADMIN_PASSWORD": "wrong password"}) == "admin-rejected"
    assert deployed.request("POST", SEARCH, {"max_results": 1}, user=("pipeline", password))[0] == 200


def test_artifacts_go_through_the_server_to_s3(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client has no credentials of S3.
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
    client = MlflowClient(tracking_uri=f"http://localhost:{deployed.port}")
    run = client.create_run(client.create_experiment("artifacts"))
    client.log_text(run.info.run_id, "whole", "note.txt")
    s3 = s3_client(deployed.s3)
    (stored,) = s3.list_objects_v2(Bucket="vicur-mlflow")["Contents"]
    assert stored["Key"].startswith("artifacts/")
    assert s3.get_object(Bucket="vicur-mlflow", Key=stored["Key"])["Body"].read() == b"whole"


def test_server_writes_nothing_to_its_working_directory(deployed: Deployed) -> None:
    # In the image this is /, which is read-only.
    assert list(deployed.working_directory.iterdir()) == []
