"""``vicur submit`` with servers that refuse, do not answer, or are not Kubeflow Pipelines."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.cli.calling import Command
from tests.pipelines.submitting import SECRET
from tests.tracking.server import free_port


@pytest.mark.parametrize(
    ("operation", "status", "words"),
    [
        ("healthz_service_get_healthz", 401, "requires a valid token (401: why)"),
        ("run_service_create_run", 403, "your account is not allowed to do this (403: why)"),
        ("experiment_service_create_experiment", 404, "not found on the server (404: why)"),
        ("run_service_create_run", 400, "refused the request (400: why)"),
        ("upload_pipeline_version", 500, "has a problem (500: why)"),
    ],
)
def test_a_refusal_of_the_server_is_reported_with_its_reason(
    kfp, submit, operation: str, status: int, words: str
) -> None:
    kfp.faults = [(operation, status, b"why")]
    result = submit()
    assert result.code == 2
    assert words in result.error
    assert len(result.error.splitlines()) == 2


def test_a_start_without_an_answer_is_reported_and_not_retried(kfp, submit) -> None:
    kfp.faults = [("run_service_create_run", None, b"")]
    result = submit()
    assert result.code == 2
    assert "The run may or may not have started" in result.error
    assert kfp.requests.count("run_service_create_run") == 1


def test_a_token_is_sent_as_bearer_token_and_can_come_from_the_environment(
    kfp, submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = SECRET
    assert submit("--no-follow").code == 2
    monkeypatch.setenv("KFP_EXISTING_TOKEN", SECRET)
    assert submit("--no-follow").code == 0


def test_a_pod_uses_its_mounted_token(kfp, submit, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.token = SECRET
    (tmp_path / "token").write_text(SECRET + "\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert submit("--no-follow").code == 0


def test_a_multi_user_server_requires_a_namespace_and_everything_is_created_in_it(kfp, submit) -> None:
    kfp.multi_user = True
    result = submit()
    assert result.code == 2
    assert "no namespace is given" in result.error
    assert submit("--namespace", "team-a").code == 0
    held = [*kfp.experiments.values(), *kfp.pipelines.values()]
    assert [each.namespace for each in held] == ["team-a", "team-a"]


def test_a_missing_and_an_unreachable_endpoint_are_reported_with_a_remedy(submit, vicur, package) -> None:
    result = vicur("submit", "--package", str(package))
    assert result.code == 2
    assert "KFP_ENDPOINT" in result.error
    assert "kubectl port-forward" in result.error
    result = submit(endpoint=f"http://ann:{SECRET}@127.0.0.1:{free_port()}")
    assert result.code == 2
    assert "does not answer" in result.error
    assert "Connection refused" in result.error
    assert SECRET not in result.error


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("text/html", b"<html>Log in</html>"),
        ("application/json", b"[]"),
        ("application/json", b"null"),
        ("application/json", b""),
        ("application/json", b'{"multi_user": tr'),
        ("application/json", b'{"pipelines": 5}'),
        ("application/json", b"\xff\xfe"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--follow", "a-run")])
def test_another_kind_of_server_is_reported(
    vicur: Command, package: Path, kind: str, page: bytes, arguments: tuple[str, ...]
) -> None:
    class Page(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(page)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        what = arguments or ("--package", str(package))
        result = vicur("submit", *what, "--endpoint", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert result.code == 2
    assert "not like Kubeflow Pipelines" in result.error
    assert "/pipeline" in result.error


@pytest.mark.parametrize("token", [f"{SECRET}\nx", f"{SECRET} x", f"{SECRET}ü"])
def test_a_token_with_invalid_characters_is_refused_and_not_shown(kfp, submit, token: str) -> None:
    result = submit("--token", token)
    assert (result.code, kfp.requests) == (2, [])
    assert "the token contains blanks" in result.error
    assert SECRET not in result.output + result.error


def test_a_line_break_at_the_end_of_a_token_is_ignored(kfp, submit) -> None:
    kfp.token = SECRET
    assert submit("--token", f"{SECRET}\n").code == 0
