"""The gate in front of the routes of a rollout server, tested with a small application."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from vicur_vllm.rollout_gate import RolloutGate

pytestmark = pytest.mark.vllm

TAKE = json.dumps({"method": "vicur_take_weights", "args": ["x"]}).encode()


def status_of(path: str, body: bytes = b"", method: str = "POST", key: str | None = None) -> int:
    """Return the status of the response to a request: 200 if it is forwarded with its whole body."""
    sent: list[Any] = []
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def app(_: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == body
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return pending.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    asyncio.run(RolloutGate(app)(scope, receive, send))
    return int(sent[0]["status"])


def test_requests_of_the_trainer_are_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert status_of("/health", method="GET") == 200
    for path in ("/inference/v1/generate", "/reset_encoder_cache", "/reset_prefix_cache"):
        assert status_of(path, b"{}") == 200
    for method in ("vicur_take_weights", "vicur_held_weights"):
        assert status_of("/collective_rpc", json.dumps({"method": method}).encode()) == 200


@pytest.mark.parametrize("path", ["/sleep", "/server_info", "/v1/completions", "/scale_elastic_ep", "/collective_rpc/"])
def test_other_paths_are_not_available(path: str) -> None:
    assert status_of(path, b"{}") == 404
    assert status_of(path, method="GET") == 404


@pytest.mark.parametrize(
    "body",
    [
        b'{"method": "save_sharded_state", "kwargs": {"path": "/"}}',
        b'{"method": ["vicur_weights_file"]}',
        b"[]",
        b"{",
        b"",
        TAKE + b" " * 4096,
    ],
    ids=["other method", "method is a list", "list", "invalid JSON", "empty", "long"],
)
def test_other_worker_methods_cannot_be_called(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert status_of("/collective_rpc", body) == 403


def test_every_post_request_requires_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sk-test")
    assert status_of("/health", method="GET") == 200
    for path in ("/collective_rpc", "/reset_encoder_cache", "/inference/v1/generate"):
        assert status_of(path, TAKE) == 401
        assert status_of(path, TAKE, key="sk-tes") == 401
        assert status_of(path, TAKE, key="sk-test") == 200


def asked(gate: RolloutGate, path: str, body: bytes = b"{}", weights: str | None = None, method: str = "POST") -> int:
    """Return the status of a request to a gate that keeps its state."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(len(body)).encode())]
    headers += [(b"x-vicur-weights", weights.encode())] if weights else []
    asyncio.run(gate({"type": "http", "path": path, "method": method, "headers": headers}, receive, send))
    return int(sent[0]["status"])


def test_requests_are_answered_with_the_weights_that_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    statuses = [200]

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": statuses[-1], "headers": []})

    gate = RolloutGate(app)
    generate = "/inference/v1/generate"
    assert asked(gate, generate, weights="x") == 503
    assert asked(gate, "/collective_rpc", TAKE) == 200
    assert [asked(gate, generate, weights=name) for name in ("x", "y", None)] == [200, 409, 200]
    # Weights that could not be loaded leave the server without any.
    statuses.append(500)
    assert asked(gate, "/collective_rpc", TAKE) == 500
    assert asked(gate, generate, weights="x") == 503


def test_uploaded_weights_stay_until_they_are_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    monkeypatch.setenv("VICUR_EXCHANGE", str(tmp_path))
    name = "vicur-weights-0a-1"
    take = json.dumps({"method": "vicur_take_weights", "args": [name]}).encode()

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (tmp_path / name).read_bytes() == b"weights"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    gate = RolloutGate(app)
    assert asked(gate, f"/vicur/weights/{name}", b"weights") == 200
    assert asked(gate, "/collective_rpc", take) == 200
    assert list(tmp_path.iterdir()) == []
    for other in ("../weights", "vicur-weights-../x", "passwords", ""):
        assert asked(gate, f"/vicur/weights/{other}", b"weights") == 400
    assert list(tmp_path.iterdir()) == []
