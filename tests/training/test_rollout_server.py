"""Errors of a training whose rollout server fails. The servers here are fakes; tests/vllm tests vLLM's."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.full_disk import full_disk
from tests.storage.test_folders import DEAD_PID
from vicur.config.training import TrainConfig
from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.training.rollout.addresses import VARIABLE, Addresses
from vicur.training.rollout.build import require_engine
from vicur.training.rollout.serve import serve
from vicur.training.rollout.servers import Servers

WEIGHTS = {"a": torch.ones(50_000)}


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """Run a server that sends these answers, one a request, and the last one from then on. Yields its address."""
    left = list(answers)

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(left.pop(0) if len(left) > 1 else left[0])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def page(text: str, length: int | None = None) -> bytes:
    return f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length or len(text)}\r\n\r\n{text}".encode()


def server_at(url: str, exchange: Path) -> Servers:
    return Servers(Vllm(url=url, exchange=exchange, patience=20), "rollout")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (page("<html>\nlog in</html>"), "returned invalid JSON for /collective_rpc: <html> log in</html>"),
        (page('{"results"', length=100), "did not respond to /collective_rpc"),
        (b"SSH-2.0-OpenSSH\r\n", "did not respond to /collective_rpc: SSH-2.0-OpenSSH"),
        (b"", "did not respond to /collective_rpc"),
    ],
    ids=["page", "cut", "another protocol", "gone"],
)
def test_invalid_answer_is_reported_in_one_line(answer: bytes, problem: str, tmp_path: Path) -> None:
    with answering(answer) as url, pytest.raises(VicurError, match=problem) as raised:
        server_at(url, tmp_path).take(WEIGHTS.items())
    assert "\n" not in str(raised.value)
    assert raised.value.retryable
    assert not list(tmp_path.iterdir())


def test_server_of_another_protocol_is_not_ready(tmp_path: Path) -> None:
    with answering(b"SSH-2.0-OpenSSH\r\n") as url, pytest.raises(VicurError, match=r"is not ready: SSH-2\.0-OpenSSH"):
        server_at(url, tmp_path).require_ready()


def test_full_exchange_folder_is_reported_and_left_clean(tmp_path: Path) -> None:
    server = server_at("http://127.0.0.1:9", tmp_path)
    with (
        full_disk(100_000),
        pytest.raises(VicurError, match=r"exchange: cannot write 0.0002 GB of weights to .*: File too large"),
    ):
        server.take(WEIGHTS.items())
    assert not list(tmp_path.iterdir())


def test_files_of_killed_trainings_in_the_exchange_folder_are_deleted(tmp_path: Path) -> None:
    host = socket.gethostname()
    kept = [
        f".vicur-weights-a.{host}-{os.getppid()}.partial",
        f".vicur-weights-b.elsewhere-{DEAD_PID}.partial",
        "other",
    ]
    for name in (*kept, f".vicur-weights-c.{host}-{DEAD_PID}.partial"):
        (tmp_path / name).touch()
    with answering(page('{"results": [{}]}')) as url:
        server = server_at(url, tmp_path)
        server.take(WEIGHTS.items())
        server.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(("method", "teacher"), [("grpo", "none"), ("vicur", "self-ema")])
def test_server_rejects_a_teacher_that_changes(method: str, teacher: str, tmp_path: Path) -> None:
    settings = {"method": method} | ({"teacher": {"type": teacher}} if teacher != "none" else {})
    with pytest.raises(VicurError, match=f"method {method} has the teacher {teacher}"):
        serve(TrainConfig.model_validate(settings), tmp_path, "127.0.0.1", 9, (), teacher=tmp_path)


def training(part: str, url: str, exchange: Path) -> TrainConfig:
    """Return settings with the rollouts, or the teacher, on a server."""
    engine = {"type": "vllm", "url": url, "exchange": str(exchange)}
    kind = {"type": "self-frozen"} if part == "teacher" else {}
    return TrainConfig.model_validate({"method": "opsd", part: {"placement": "url", "engine": engine, **kind}})


@pytest.mark.parametrize(
    ("part", "command"), [("rollout", "vicur rollout-server and"), ("teacher", "vicur rollout-server --teacher and")]
)
def test_unreachable_server_is_named_by_its_setting(part: str, command: str, tmp_path: Path) -> None:
    problem = rf"^training\.{part}\.engine\.url http://127.0.0.1:9: .* is not ready: Connection refused.*{command}"
    with pytest.raises(VicurError, match=problem) as refused:
        require_engine(training(part, "http://127.0.0.1:9", tmp_path), processes=2)
    assert refused.value.retryable


def test_only_rollouts_need_the_exchange_folder(tmp_path: Path) -> None:
    with answering(page("")) as url:
        require_engine(training("teacher", url, tmp_path / "nowhere"), processes=1)
        with pytest.raises(
            VicurError, match=r"^training.rollout.engine.exchange: the folder .*nowhere, .* does not exist"
        ):
            require_engine(training("rollout", url, tmp_path / "nowhere"), processes=1)


def test_servers_next_to_the_training_need_the_exchange_folder_and_those_of_a_cluster_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = {"exchange": str(tmp_path / "nowhere")}
    config = TrainConfig.model_validate({"method": "opsd", "rollout": {"placement": "job", "engine": engine}})
    with pytest.raises(VicurError, match=r"^training.rollout.engine.exchange: the folder .*nowhere"):
        require_engine(config, processes=1)
    monkeypatch.setenv(VARIABLE, Addresses({"rollout": ("http://pod:8000",)}, exchange=False).to_variable())
    require_engine(config, processes=1)


@pytest.mark.parametrize(("status", "passes"), [(400, False), (401, False), (429, True), (500, True), (503, True)])
def test_permanent_errors_of_a_server_are_not_retryable(status: int, passes: bool, tmp_path: Path) -> None:
    answer = f"HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        answering(answer) as url,
        pytest.raises(VicurError, match=f"returned status {status} for /collective_rpc: So") as refused,
    ):
        server_at(url, tmp_path).held()
    assert refused.value.retryable is passes
