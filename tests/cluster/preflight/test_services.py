"""Checks of services: S3 buckets, MLflow and the cue endpoint."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.cluster.preflight.doubles import openai_double, serving
from tests.registry.kubeflow_registry_double import kubeflow_registry
from tests.tracking.gate import gate
from tests.tracking.server import Server, free_port
from vicur.cluster.preflight.checks.bucket import bucket
from vicur.cluster.preflight.checks.cue_endpoint import cue_endpoint
from vicur.cluster.preflight.checks.dataset import dataset
from vicur.cluster.preflight.checks.model import model
from vicur.cluster.preflight.checks.model_registry import model_registry
from vicur.cluster.preflight.checks.tracking import check_release, server_release, shared_tracking, tracking
from vicur.config.data import PinnedConfig, RemoteConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError

# --- S3 ---


def test_probe_leaves_the_bucket_unchanged(s3) -> None:
    assert bucket("s3://runs/below/here").status == "ok"
    assert bucket("s3://runs").status == "ok"
    assert "Contents" not in s3.list_objects_v2(Bucket="runs")


@pytest.mark.usefixtures("s3")
def test_missing_bucket_is_reported() -> None:
    finding = bucket("s3://others/x")
    assert (finding.status, "NoSuchBucket" in finding.message) == ("failed", True)
    assert "Create the bucket" in finding.remedy


def test_partial_access_is_reported_with_the_missing_permission(monkeypatch: pytest.MonkeyPatch, s3) -> None:
    del s3
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    for method, word, right in (("PUT", "written", "s3:PutObject"), ("GET", "read", "s3:GetObject")):
        with serving(lambda verb, *_, refused=method: (403, denied) if verb == refused else (200, b"")) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
            finding = bucket("s3://runs/a")
        assert f"cannot be {word}: AccessDenied" in finding.message
        assert right in finding.remedy
        assert ("remains there" in finding.message) == (word != "written")


def test_error_response_is_distinguished_from_an_unreachable_store(monkeypatch: pytest.MonkeyPatch, s3) -> None:
    del s3
    looks = (bucket, model, lambda address: dataset(RemoteConfig(uri=address)))
    for status, code, words in (
        (503, "SlowDown", "The store has an internal problem"),
        (400, "ExpiredToken", "log in again"),
        (403, "InvalidAccessKeyId", "correct AWS_ACCESS_KEY_ID"),
        (403, "AccessDenied", "Grant these credentials the permission s3:"),
    ):
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        with serving(lambda *_, answer=(status, body): answer) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
            # Model and dataset use the same remedies, so one code is enough for them.
            findings = [look("s3://runs/a") for look in (looks if code == "AccessDenied" else (bucket,))]
        assert all((each.status, words in each.remedy) == ("failed", True) for each in findings), findings
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no address")
    with pytest.raises(VicurError, match="AWS_ENDPOINT_URL_S3"):
        bucket("s3://runs/a")
    assert "AWS_ENDPOINT_URL_S3" in model("s3://runs/a").remedy
    for source in (RemoteConfig(uri="s3://runs/a"), PinnedConfig(hash=f"{'a' * 32}.dir", remote="s3://runs/dvc")):
        assert "AWS_ENDPOINT_URL_S3" in dataset(source).remedy


def test_incomplete_credentials_are_reported(monkeypatch: pytest.MonkeyPatch, s3) -> None:
    del s3
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test\n")
    assert "it contains a line break" in bucket("s3://runs").remedy
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(VicurError, match="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        bucket("s3://runs")


def test_missing_credentials_and_unreachable_store_are_reported_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, s3
) -> None:
    del s3
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    finding = bucket("s3://runs")
    assert (finding.status, "AWS_ENDPOINT_URL_S3" in finding.remedy) == ("failed", True)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    finding = bucket("s3://runs")
    assert (finding.status, "AWS_ACCESS_KEY_ID" in finding.remedy) == ("failed", True)
    with pytest.raises(VicurError, match="not an S3 address"):
        bucket("s3:/runs")


# --- MLflow ---


def test_mlflow_server_is_reported_with_its_release(server: Server) -> None:
    import mlflow

    finding = tracking(TrackingConfig(uri=server.uri))
    assert (finding.status, finding.message) == ("ok", f"MLflow {mlflow.__version__} at {server.uri}")
    assert shared_tracking(TrackingConfig(uri=server.uri)).status == "ok"


def test_host_name_that_mlflow_does_not_allow_is_reported_with_what_to_add(server: Server) -> None:
    with gate(server.port, "127.0.0.2") as way:
        finding = tracking(TrackingConfig(uri=f"http://127.0.0.2:{way.port}"))
    assert finding.status == "failed"
    assert "does not allow this host name (HTTP 403)" in finding.message
    assert "'127.0.0.2,127.0.0.2:*'" in finding.remedy
    assert "--allowed-hosts" in finding.remedy


def test_unreachable_mlflow_is_reported_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:hunter2@127.0.0.1:{free_port()}")
    with pytest.raises(VicurError, match="does not respond") as caught:
        tracking(TrackingConfig())
    assert "hunter2" not in str(caught.value)


def test_check_does_not_create_the_embedded_store(place: Path) -> None:
    finding = tracking(TrackingConfig())
    assert (finding.status, "the first run creates" in finding.message) == ("ok", True)
    assert list(place.iterdir()) == []
    finding = shared_tracking(TrackingConfig())
    assert (finding.status, "which pods cannot read" in finding.message) == ("failed", True)


@pytest.mark.parametrize(
    ("release", "status"),
    [("3.17.2", "ok"), ("4.0.0rc1", "ok"), ("3.4.9", "failed"), ("2.22.1", "failed"), (None, "warning"), ("dev", "ok")],
)
def test_old_mlflow_server_fails(release: str | None, status: str) -> None:
    assert check_release("http://m", release).status == status


# --- the Kubeflow Model Registry ---


def test_a_model_registry_must_answer() -> None:
    with kubeflow_registry() as content:
        assert model_registry(content.url).status == "ok"
        content.token = "other"  # noqa: S105
        with pytest.raises(VicurError, match="refused the token"):
            model_registry(content.url)
    with pytest.raises(VicurError, match="does not respond"):
        model_registry(content.url)


# --- the cue endpoint ---


def test_cue_endpoint_must_serve_the_model_and_accept_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(openai_double("cue-key", "qwen", "other")) as address:
        monkeypatch.setenv("VICUR_CUE_API_KEY", "cue-key")
        assert cue_endpoint(f"{address}/v1", "qwen", "VICUR_CUE_API_KEY").status == "ok"
        assert cue_endpoint(f"{address}/v1/", None, "VICUR_CUE_API_KEY").message.endswith("serves qwen, other")
        finding = cue_endpoint(f"{address}/v1", "llava", "VICUR_CUE_API_KEY")
        assert (finding.status, "does not serve llava, but qwen, other" in finding.message) == ("failed", True)
        finding = cue_endpoint(address, "qwen", "VICUR_CUE_API_KEY")
        assert (finding.status, finding.remedy) == ("failed", "The address must end in /v1.")
        monkeypatch.setenv("VICUR_CUE_API_KEY", "wrong-key")
        finding = cue_endpoint(f"{address}/v1", "qwen", "VICUR_CUE_API_KEY")
        assert (finding.status, "rejected the key (HTTP 401)" in finding.message) == ("failed", True)
        assert "wrong-key" not in finding.message + finding.remedy


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, b"<html>"), "not that of an OpenAI-compatible API"),
        ((200, {"data": [1]}), "not that of an OpenAI-compatible API"),
        ((503, {}), "HTTP 503"),
    ],
)
def test_server_without_an_openai_api_is_reported(answer, words: str) -> None:
    with serving(lambda *_: answer) as address:
        finding = cue_endpoint(f"{address}/v1", None, "NONE")
    assert (finding.status, words in finding.message) == ("failed", True)


@pytest.mark.parametrize(
    "address", ["cue-model:8000/v1", "file:///etc/passwd", "http://127.0.0.1:9/v1", "http://a b/v1", "http://[::1/v1"]
)
def test_unreachable_endpoint_fails(address: str) -> None:
    assert cue_endpoint(address, None, "NONE").status == "failed"


def test_key_is_not_sent_to_a_redirect_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", "cue-key")
    sent: list[str | None] = []
    with (
        serving(lambda *each: (sent.append(each[3].get("authorization")), (200, {"data": []}))[1]) as elsewhere,
        serving(lambda *_: (302, {}, {"Location": f"{elsewhere}/v1/models"})) as address,
    ):
        finding = cue_endpoint(f"{address}/v1", None, "VICUR_CUE_API_KEY")
    assert (finding.status, "redirects to another address (HTTP 302)" in finding.message, sent) == ("failed", True, [])


def test_key_may_end_with_a_line_break_but_not_contain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(openai_double("cue-key", "qwen")) as address:
        monkeypatch.setenv("VICUR_CUE_API_KEY", "cue-key\n")
        assert cue_endpoint(f"{address}/v1", "qwen", "VICUR_CUE_API_KEY").status == "ok"
        monkeypatch.setenv("VICUR_CUE_API_KEY", "cue-key\nx")
        with pytest.raises(VicurError, match="VICUR_CUE_API_KEY: the key contains spaces, line breaks") as caught:
            cue_endpoint(f"{address}/v1", "qwen", "VICUR_CUE_API_KEY")
    assert "cue-key" not in str(caught.value)


def test_server_that_does_not_speak_http_does_not_respond() -> None:
    def greet() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=greet, daemon=True).start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        finding = cue_endpoint(f"{address}/v1", None, "VICUR_CUE_API_KEY")
        assert (finding.status, "does not respond (SSH-2.0" in finding.message) == ("failed", True)
        assert server_release(address) is None
        listener.shutdown(socket.SHUT_RDWR)
