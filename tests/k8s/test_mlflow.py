"""The commands of MLflow's manifests, run for real: migration and server with PostgreSQL, basic auth and S3 (moto, which is a stand-in).

Replaced are addresses alone: those of the database, the server and S3.
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
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.k8s.postgres import postgres
from tests.k8s.render import pod_templates, rendered
from tests.tracking.server import free_port

ADMIN = ("admin", "correct horse battery")
SECRETS = {
    "PGPASSWORD": "p@ss/word:#1",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef",
    "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
"""What the secrets vicur-mlflow-server and vicur-s3 hold in a cluster. The database's password would break an address that held it."""


@dataclass(frozen=True)
class Deployed:
    """A server as its manifests describe it."""

    port: int
    environment: dict[str, str]
    s3: str
    stands_in: Path

    def ask(self, method: str, path: str, body: Any = None, host: str = "mlflow:5000", user: Any = None) -> Any:
        """Status and JSON of an answer."""
        headers = {"Host": host, "Content-Type": "application/json"}
        if user:
            headers["Authorization"] = "Basic " + b64encode(":".join(user).encode()).decode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text


def store_at(address: str) -> Any:
    """A client of S3."""
    keys = {name: SECRETS[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")}
    return boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)


def settings(manifests: list[Any], s3: str, database: int, folder: Path) -> dict[str, str]:
    """The environment that the pods get, from the ConfigMaps."""
    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    found = {**maps["mlflow"], **maps["vicur-endpoints"], **SECRETS, "AWS_ENDPOINT_URL_S3": s3, "HOME": str(folder)}
    found["MLFLOW_BACKEND_STORE_URI"] = found["MLFLOW_BACKEND_STORE_URI"].replace(
        "mlflow-db:5432", f"127.0.0.1:{database}"
    )
    auth = folder / "auth.ini"
    auth.write_text(maps["mlflow-auth"]["auth.ini"].replace("mlflow-db:5432", f"127.0.0.1:{database}"))
    found["MLFLOW_AUTH_CONFIG_PATH"] = str(auth)
    # What the program is called in the image is found in this environment here.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "PG"))}
    return {**kept, **found, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def migrate(manifests: list[Any], environment: dict[str, str], folder: Path) -> None:
    (template,) = [t for name, t in pod_templates(manifests).items() if name.startswith("Job/mlflow-migrate")]
    command = template["spec"]["containers"][0]["command"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def wait_until_ready(deployed: Deployed, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            # A kubelet calls the pod by its address.
            if deployed.ask("GET", "/health", host="10.244.1.17:5000")[0] == 200:
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
    store_at(s3).create_bucket(Bucket="vicur-mlflow")
    with postgres("mlflow", SECRETS["PGPASSWORD"], "mlflow") as database:
        environment = settings(manifests, s3, database, folder)
        migrate(manifests, environment, folder)
        # As on an upgrade that changes no table.
        migrate(manifests, environment, folder)
        port = free_port()
        command = pod_templates(manifests)["Deployment/mlflow"]["spec"]["containers"][0]["command"]
        command = [{"0.0.0.0": "127.0.0.1", "5000": str(port)}.get(word, word) for word in command]  # noqa: S104 (taken out)
        log, stands_in = folder / "server.log", folder / "root"
        stands_in.mkdir()
        with log.open("wb") as stream:
            server = subprocess.Popen(
                command, env=environment, cwd=stands_in, stdout=stream, stderr=stream, start_new_session=True
            )
        try:
            found = Deployed(port, environment, s3, stands_in)
            wait_until_ready(found, server, log)
            yield found
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)
            objects.stop()


SEARCH = "/api/2.0/mlflow/experiments/search"


def test_nobody_gets_in_without_a_password(deployed: Deployed) -> None:
    assert deployed.ask("POST", SEARCH, {"max_results": 1})[0] == 401
    assert deployed.ask("POST", SEARCH, {"max_results": 1}, user=("admin", "password1234"))[0] == 401


def test_the_admin_of_the_secret_gets_in(deployed: Deployed) -> None:
    status, found = deployed.ask("POST", SEARCH, {"max_results": 5}, user=ADMIN)
    assert status == 200
    assert [e["name"] for e in found["experiments"]] == ["Default"]


@pytest.mark.parametrize(
    "name", ["mlflow", "mlflow.vicur", "mlflow.vicur.svc", "mlflow.vicur.svc.cluster.local", "localhost"]
)
@pytest.mark.parametrize("port", ["", ":5000"])
def test_each_name_of_the_server_is_let_in(deployed: Deployed, name: str, port: str) -> None:
    assert deployed.ask("POST", SEARCH, {"max_results": 1}, host=name + port, user=ADMIN)[0] == 200


def test_another_name_is_refused(deployed: Deployed) -> None:
    status, text = deployed.ask("POST", SEARCH, {"max_results": 1}, host="evil.example.com", user=ADMIN)
    assert status == 403
    assert "Invalid Host header" in text


def test_a_user_of_the_pipeline_writes_its_own_and_reads_others(deployed: Deployed) -> None:
    user, other = ("vicur", "a longer password 1"), ("someone", "a longer password 2")
    for name, password in (user, other):
        body = {"username": name, "password": password}
        assert deployed.ask("POST", "/api/2.0/mlflow/users/create", body, user=ADMIN)[0] == 200
    status, made = deployed.ask("POST", "/api/2.0/mlflow/experiments/create", {"name": "distill"}, user=user)
    assert status == 200
    run = {"experiment_id": made["experiment_id"]}
    assert deployed.ask("POST", "/api/2.0/mlflow/runs/create", run, user=user)[0] == 200
    assert (
        deployed.ask("GET", f"/api/2.0/mlflow/experiments/get?experiment_id={run['experiment_id']}", user=other)[0]
        == 200
    )
    assert deployed.ask("POST", "/api/2.0/mlflow/runs/create", run, user=other)[0] == 403


def test_artifacts_go_through_the_server_to_s3(deployed: Deployed) -> None:
    code = (
        "import mlflow; mlflow.set_experiment('artifacts')\n"
        "with mlflow.start_run(): mlflow.log_text('whole', 'note.txt')"
    )
    client = {k: v for k, v in deployed.environment.items() if not k.startswith(("AWS_", "MLFLOW_", "PG"))}
    client |= {"MLFLOW_TRACKING_URI": f"http://localhost:{deployed.port}", "MLFLOW_TRACKING_USERNAME": ADMIN[0]}
    client["MLFLOW_TRACKING_PASSWORD"] = ADMIN[1]
    subprocess.run([sys.executable, "-c", code], env=client, check=True, capture_output=True)
    s3 = store_at(deployed.s3)
    (stored,) = s3.list_objects_v2(Bucket="vicur-mlflow")["Contents"]
    assert stored["Key"].startswith("artifacts/")
    assert s3.get_object(Bucket="vicur-mlflow", Key=stored["Key"])["Body"].read() == b"whole"


def test_the_server_writes_nothing_where_it_stands(deployed: Deployed) -> None:
    # In its image that is /, which cannot be written to.
    assert list(deployed.stands_in.iterdir()) == []
