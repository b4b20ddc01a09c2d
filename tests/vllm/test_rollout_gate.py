"""What stands before a rollout server's routes, around an application of a few lines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from vicur_vllm.rollout_gate import RolloutGate

pytestmark = pytest.mark.vllm

TAKE = json.dumps({"method": "vicur_take_weights", "args": ["x"]}).encode()


def status_of(path: str, body: bytes = b"", method: str = "POST", key: str | None = None) -> int:
    """Status of the answer to a request; that of one that is let through is 200, and its body arrives whole."""
    sent: list[Any] = []
    coming = [{"type": "http.request", "body": body, "more_body": False}]

    async def app(_: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == body
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    asyncio.run(RolloutGate(app)(scope, receive, send))
    return int(sent[0]["status"])


def test_what_a_training_asks_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert status_of("/health", method="GET") == 200
    for path in ("/inference/v1/generate", "/reset_encoder_cache", "/reset_prefix_cache"):
        assert status_of(path, b"{}") == 200
    for method in ("vicur_take_weights", "vicur_held_weights", "vicur_given"):
        assert status_of("/collective_rpc", json.dumps({"method": method}).encode()) == 200


@pytest.mark.parametrize("path", ["/sleep", "/server_info", "/v1/completions", "/scale_elastic_ep", "/collective_rpc/"])
def test_other_paths_are_not_there(path: str) -> None:
    assert status_of(path, b"{}") == 404
    assert status_of(path, method="GET") == 404


@pytest.mark.parametrize(
    "body",
    [
        b'{"method": "save_sharded_state", "kwargs": {"path": "/"}}',
        b'{"method": ["vicur_given"]}',
        b"[]",
        b"{",
        b"",
        TAKE + b" " * 4096,
    ],
    ids=["another method", "no name", "a list", "no JSON", "empty", "long"],
)
def test_workers_are_asked_for_their_weights_alone(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert status_of("/collective_rpc", body) == 403


def test_a_key_is_asked_for_wherever_something_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sk-test")
    assert status_of("/health", method="GET") == 200
    for path in ("/collective_rpc", "/reset_encoder_cache", "/inference/v1/generate"):
        assert status_of(path, TAKE) == 401
        assert status_of(path, TAKE, key="sk-tes") == 401
        assert status_of(path, TAKE, key="sk-test") == 200
