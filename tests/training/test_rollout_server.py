"""A rollout server that is none, or no longer one: what a training says. The servers here are a few lines; tests/vllm has vLLM's."""

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
from vicur.training.rollout.build import require_engine
from vicur.training.rollout.serve import serve
from vicur.training.rollout.server import Server

WEIGHTS = {"a": torch.ones(50_000)}


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """The address of a server that answers so, one request after the other, the last from then on."""
    left = list(answers)

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(left.pop(0) if len(left) > 1 else left[0])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def page(text: str, said: int | None = None) -> bytes:
    return f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {said or len(text)}\r\n\r\n{text}".encode()


def server_at(url: str, exchange: Path) -> Server:
    return Server(Vllm(placement="server", url=url, exchange=exchange, patience=20))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (page("<html>\nlog in</html>"), r"answers /collective_rpc with what is no JSON \(<html> log in</html>\)"),
        (page('{"results"', said=100), "does not answer /collective_rpc"),
        (b"SSH-2.0-OpenSSH\r\n", r"does not answer /collective_rpc \(SSH-2.0-OpenSSH\)"),
        (b"", "does not answer /collective_rpc"),
    ],
    ids=["page", "cut", "another protocol", "gone"],
)
def test_what_is_no_answer_is_told_in_a_line(answer: bytes, said: str, tmp_path: Path) -> None:
    with answering(answer) as url, pytest.raises(VicurError, match=said) as told:
        server_at(url, tmp_path).take(WEIGHTS.items())
    assert "\n" not in str(told.value)
    assert told.value.retryable
    assert not list(tmp_path.iterdir())


def test_another_kind_of_server_is_not_ready(tmp_path: Path) -> None:
    with answering(b"SSH-2.0-OpenSSH\r\n") as url, pytest.raises(VicurError, match=r"is not ready \(SSH-2.0-OpenSSH\)"):
        server_at(url, tmp_path).require_ready()


def test_a_folder_that_takes_no_weights_is_told_and_left_as_it_was(tmp_path: Path) -> None:
    server = server_at("http://127.0.0.1:9", tmp_path)
    with (
        full_disk(100_000),
        pytest.raises(VicurError, match=r"exchange .*: takes no file of 0.0002 GB \(File too large\)"),
    ):
        server.take(WEIGHTS.items())
    assert not list(tmp_path.iterdir())


def test_what_killed_trainings_have_left_in_the_exchange_folder_is_removed(tmp_path: Path) -> None:
    host = socket.gethostname()
    kept = [
        f".vicur-weights-a.{host}-{os.getppid()}.partial",
        f".vicur-weights-b.elsewhere-{DEAD_PID}.partial",
        "other",
    ]
    for name in (*kept, f".vicur-weights-c.{host}-{DEAD_PID}.partial"):
        (tmp_path / name).touch()
    with answering(page('{"results": [{}]}')) as url:
        server_at(url, tmp_path).take(WEIGHTS.items())
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize(("method", "teacher"), [("grpo", "none"), ("vicur", "self-ema")])
def test_a_server_scores_for_no_teacher_that_changes(method: str, teacher: str, tmp_path: Path) -> None:
    settings = {"method": method} | ({"teacher": {"type": teacher}} if teacher != "none" else {})
    with pytest.raises(
        VicurError, match=rf"the method {method} has no teacher that stays as it is .*type: {teacher}\)"
    ):
        serve(TrainConfig.model_validate(settings), tmp_path, "127.0.0.1", 9, (), teacher=True)


def training(part: str, url: str, exchange: Path) -> TrainConfig:
    """A training whose rollouts, or whose teacher, are asked of a server."""
    engine = {"type": "vllm", "placement": "server", "url": url, "exchange": str(exchange)}
    return TrainConfig.model_validate(
        {"method": "opsd", part: {"engine": engine, **({"type": "self-frozen"} if part == "teacher" else {})}}
    )


@pytest.mark.parametrize(
    ("part", "command"), [("rollout", "vicur rollout-server, and"), ("teacher", "vicur rollout-server --teacher, and")]
)
def test_a_server_that_is_not_there_is_told_by_its_setting(part: str, command: str, tmp_path: Path) -> None:
    said = rf"^training\.{part}\.engine\.url http://127.0.0.1:9: .* is not ready .*{command}"
    with pytest.raises(VicurError, match=said) as refused:
        require_engine(training(part, "http://127.0.0.1:9", tmp_path), processes=2)
    assert refused.value.retryable


def test_only_rollouts_need_a_folder_for_weights(tmp_path: Path) -> None:
    with answering(page("")) as url:
        require_engine(training("teacher", url, tmp_path / "nowhere"), processes=1)
        with pytest.raises(VicurError, match=r"^training.rollout.engine.exchange .*nowhere: there is no such folder"):
            require_engine(training("rollout", url, tmp_path / "nowhere"), processes=1)


@pytest.mark.parametrize(("status", "passes"), [(400, False), (401, False), (429, True), (500, True), (503, True)])
def test_what_a_server_refuses_for_good_is_not_tried_again(status: int, passes: bool, tmp_path: Path) -> None:
    answer = f"HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        answering(answer) as url,
        pytest.raises(VicurError, match=f"answers /collective_rpc with {status}") as refused,
    ):
        server_at(url, tmp_path).held()
    assert refused.value.retryable is passes
