"""Weights that are sent to a rollout server: what it refuses reaches the training, and trainings do not disturb each other.

The real client talks to the real gate over HTTP. Behind the gate is an application that answers every request.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import uvicorn

sys.path.append(str(Path(__file__).parents[2] / "serving"))

from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.training.rollout.server import Problem, Server, ServerError
from vicur.training.rollout.servers import Servers
from vicur_vllm import rollout_gate
from vicur_vllm.rollout_gate import EXCHANGE_VARIABLE, RolloutGate, _answer

NAME = "vicur-weights-0a-1"
# More than the buffers of a connection hold: a server that does not read it keeps the client from sending it all.
LARGE = 12_000_000


class Served:
    """A gate at an address, with an application whose loading of weights can be held up."""

    def __init__(self, exchange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VLLM_API_KEY", raising=False)
        monkeypatch.setenv(EXCHANGE_VARIABLE, str(exchange))
        self.exchange = exchange
        self.may_load = threading.Event()
        self.may_load.set()
        self.is_loading = threading.Event()
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(RolloutGate(self._app), port=0, log_level="error", lifespan="off")
        )
        threading.Thread(target=self._uvicorn.run, daemon=True).start()
        while not self._uvicorn.started:
            time.sleep(0.01)
        port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = Server(self.url, "training.rollout.engine.url", "rollout-server", 20)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/collective_rpc":
            self.is_loading.set()
            while not self.may_load.is_set():
                await asyncio.sleep(0.01)
        await _answer(send, {"results": [{}]})

    def stop(self) -> None:
        self.may_load.set()
        self._uvicorn.should_exit = True


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    server = Served(exchange, monkeypatch)
    yield server
    server.stop()


def weights_file(folder: Path, name: str = NAME, size: int = LARGE) -> Path:
    file = folder / name
    file.write_bytes(bytes(size))
    return file


def refusal(server: Served, file: Path) -> ServerError:
    with pytest.raises(ServerError) as refused:
        server.client.upload(file)
    return refused.value


def test_a_server_without_room_says_so_before_and_while_it_writes(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = weights_file(tmp_path)
    with monkeypatch.context() as small:
        small.setattr(rollout_gate.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        error = refusal(served, file)
    assert "507" in str(error)
    assert "has no room for 0.012 GB of weights" in str(error)
    assert error.kind is Problem.FAILED
    # Seen only during the write: a folder that is gone cannot be opened.
    served.exchange.rmdir()
    with monkeypatch.context() as gone:
        gone.setattr(rollout_gate.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
        assert "The weights cannot be written: No such file or directory" in str(refusal(served, file))


def test_a_name_that_the_training_did_not_choose_is_refused_with_the_reason(served: Served, tmp_path: Path) -> None:
    error = refusal(served, weights_file(tmp_path, "passwords"))
    assert "400" in str(error)
    assert "Weights need a name" in str(error)


def test_a_body_beyond_the_limit_is_not_read(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_gate, "_MAX_DISCARDED_BYTES", LARGE - 1)
    assert refusal(served, weights_file(tmp_path, "passwords")).kind is not None
    served.client.upload(weights_file(tmp_path))
    assert (served.exchange / NAME).stat().st_size == LARGE


def test_a_file_in_the_exchange_folder_that_was_not_uploaded_is_kept(served: Served, tmp_path: Path) -> None:
    (served.exchange / NAME).write_bytes(b"of another")
    assert f"already has a file {NAME}" in str(refusal(served, weights_file(tmp_path)))
    assert (served.exchange / NAME).read_bytes() == b"of another"


def test_a_repeated_upload_replaces_the_first(served: Served, tmp_path: Path) -> None:
    served.client.upload(weights_file(tmp_path))
    served.client.upload(weights_file(tmp_path, size=7))
    assert [file.stat().st_size for file in served.exchange.iterdir()] == [7]
    served.client.load(NAME)
    assert list(served.exchange.iterdir()) == []


def messages(*chunks: bytes) -> list[dict[str, Any]]:
    last = len(chunks) - 1
    return [{"type": "http.request", "body": chunk, "more_body": number < last} for number, chunk in enumerate(chunks)]


def test_of_two_uploads_at_once_the_first_does_not_delete_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has lost its connection repeats the upload, while the server still waits for the rest of the first."""
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.setenv(EXCHANGE_VARIABLE, str(tmp_path))

    async def app(*_: Any) -> None: ...

    async def upload(gate: RolloutGate, chunks: list[dict[str, Any]], wait: asyncio.Event | None = None) -> int:
        async def receive() -> Any:
            if len(chunks) == 1 and wait is not None:
                await wait.wait()
            return chunks.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        sent: list[Any] = []
        headers = [(b"content-length", b"4")]
        scope = {"type": "http", "path": f"/vicur/weights/{NAME}", "method": "POST", "headers": headers}
        await gate(scope, receive, send)
        return int(sent[0]["status"])

    async def both() -> tuple[int, int]:
        gate, rest = RolloutGate(app), asyncio.Event()
        first = asyncio.create_task(upload(gate, messages(b"ol", b"d."), rest))
        await asyncio.sleep(0.01)
        second = await upload(gate, messages(b"new."))
        rest.set()
        return await first, second

    assert asyncio.run(both()) == (409, 200)
    assert (tmp_path / NAME).read_bytes() == b"new."


def test_weights_cannot_be_sent_while_others_are_loaded(served: Served, tmp_path: Path) -> None:
    served.may_load.clear()
    thread = threading.Thread(target=served.client.load, args=(NAME,), daemon=True)
    thread.start()
    assert served.is_loading.wait(10)
    error = refusal(served, weights_file(tmp_path, "vicur-weights-0b-1"))
    assert f"is loading the weights {NAME}" in str(error)
    assert error.kind is Problem.ABSENT
    served.may_load.set()
    thread.join(10)
    served.client.upload(tmp_path / "vicur-weights-0b-1")


def test_server_that_loads_weights_of_another_training_is_not_taken_for_restarted(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicur.training.rollout.servers._WATCH_SECONDS", 0.02)
    own = Servers(Vllm(url=served.url, exchange=tmp_path, patience=20), "rollout")
    own.take({"a": torch.ones(3)}.items())
    calls: list[str] = []
    push = own._push
    monkeypatch.setattr(own, "_push", lambda server, file: calls.append(file.name) or push(server, file))
    served.may_load.clear()
    served.is_loading.clear()
    other = threading.Thread(target=served.client.load, args=("vicur-weights-0b-1",), daemon=True)
    other.start()
    assert served.is_loading.wait(10)
    prompt = SimpleNamespace(short_ids=[1], pixels=())
    with pytest.raises(VicurError, match="another training sends it weights too"):
        own.answer([prompt], [{}])  # type: ignore[list-item]
    time.sleep(0.2)
    served.may_load.set()
    other.join(10)
    own.close()
    assert calls == []


def test_own_weights_are_loading_until_the_server_has_them(served: Served) -> None:
    served.may_load.clear()
    thread = threading.Thread(target=served.client.load, args=(NAME,), daemon=True)
    thread.start()
    assert served.is_loading.wait(10)
    assert served.client.weights_name() == NAME
    with pytest.raises(ServerError, match="still loading these weights") as early:
        served.client._post("/inference/v1/generate", json.loads("{}"), {"X-Vicur-Weights": NAME})
    assert early.value.kind is Problem.ABSENT
    served.may_load.set()
    thread.join(10)
    assert served.client.weights_name() == NAME
