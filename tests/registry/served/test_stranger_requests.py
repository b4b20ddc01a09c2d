"""Requests of a stranger to ``mlflow models serve``: bodies, content types and paths. The server must survive each."""

from __future__ import annotations

from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from tests.registry.model_server import ModelServer
from tests.registry.served.asking import question, refused
from vicur.data.schema import Example


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not valid JSON (line 1"),
        (b"{", "not valid JSON (line 1"),
        (b"null", "must be an object"),
        (b"[]", "must be an object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"dataframe_records":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deeply"),
        (b'{"a":' * 60_000, "nested too deeply"),
        (b"\xff\xfe{}", "not UTF-8 (at byte 0)"),
        (b"\x00" * 100, "not valid JSON"),
        (b'{"inputs": [NaN]}', "NaN is not a JSON number"),
        (b'{"inputs": [' + b"1" * 100_000 + b"]}", "not valid JSON"),
        (b"{}", "it has none of them"),
        (b'{"question": "What?"}', "it has none of them"),
        (b'{"inputs": [], "instances": []}', "it has instances, inputs"),
        (b'{"inputs": []}', "has no rows"),
        (b'{"inputs": 7}', "must be a list of rows"),
        (b'{"dataframe_split": {"columns": [["a"]], "data": []}}', "must have the form"),
        (b'{"dataframe_split": {"columns": ["question"], "data": [["a", "b"]]}}', "must have 1 values"),
        (b'{"inputs": {"question": ["a", "b"], "image": ["c"]}}', "lists of the same length"),
        (b'{"inputs": ["What?"], "parms": {}}', "unknown field 'parms'"),
        (b'{"inputs": ["What?"], "params": [1]}', "must be an object"),
        (b'{"inputs": ["What?"], "params": {"temprature": 1}}', "Did you mean 'temperature'"),
        (b'{"inputs": ["What?"], "params": {"max_new_tokens": 65}}', "from 1 to 64, not 65"),
        (b'{"inputs": ["What?"], "params": {"temperature": 1e999}}', "from 0 to 2"),
        (b'{"inputs": ["What?"], "params": {"temperature": "1"}}', "must be a number"),
        (b'{"inputs": ["What?"], "params": {"temperature": 1e-40}}', "must be 0, or at least 0.0001"),
        (b'{"inputs": ["What?"], "params": {"' + b"temperature" * 1_900_000 + b'": 1}}', "no parameter 'temperature"),
        (b'{"inputs": ["What?"], "params": {"__class__": 1}}', "no parameter '__class__'"),
        (b'{"messages": 7}', "messages: is not a list of messages"),
        (b'{"messages": [{"role": "user", "content": "What?"}], "tools": [{}]}', "tools is not supported"),
        (
            b'{"messages": [{"role": "user", "content": "What?"}], "chat_template": "x"}',
            "unknown field 'chat_template'",
        ),
        (b'{"messages": [{"role": "user", "content": "What?"}], "n": 99}', "n is not supported"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_a_malformed_body_is_refused_in_our_words(server: ModelServer, body: bytes, problem: str) -> None:
    assert problem in refused(server.post(body), 400)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"inputs": [' + b"{}," * 1_000_000 + b"{}]}", "more than 200,000 values"),
        (b'{"inputs": [' + b"[]," * 8_000_000 + b"[]]}", "more than 200,000 values"),
        (b'{"inputs": [' + b'"a",' * 40_000 + b'"a"]}', "has 40,001 rows, but at most 32"),
        (b"x" * (33 << 20), "more than 33,554,432 bytes (max_request_bytes)"),
    ],
    ids=["objects", "lists", "rows", "bytes"],
)
def test_a_huge_body_is_refused(server: ModelServer, body: bytes, problem: str) -> None:
    try:
        assert problem in refused(server.post(body), 413)
    except (BrokenPipeError, ConnectionResetError):
        # The server answers before it has read everything, and closes the connection.
        assert len(body) > 32 << 20


@pytest.mark.parametrize(
    "kind", ["", "text/csv", "application/vnd.apache.parquet", "multipart/form-data", "application/json; charset=utf-7"]
)
def test_other_content_types_are_refused(server: ModelServer, kind: str) -> None:
    reply = server.send("POST", "/invocations", b"PAR1" * 100, {"Content-Type": kind} if kind else {})
    assert "Send application/json in UTF-8" in refused(reply, 415)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("DELETE", "/v1/chat/completions", 405),
        ("POST", "/ping", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%00", 404),
        ("POST", "//invocations", 404),
        ("PROPFIND", "/", 404),
    ],
)
def test_nothing_else_is_reachable(server: ModelServer, method: str, path: str, status: int) -> None:
    refused(server.send(method, path), status)


def test_every_form_of_a_request_gives_the_same_answer(server: ModelServer, example: Example) -> None:
    row = question(example)
    expected = server.ask(row)
    split = {"columns": [*row], "data": [[*row.values()]]}
    for body in (
        {"dataframe_split": split},
        {"instances": [row]},
        {"inputs": [row]},
        {"inputs": {k: [v] for k, v in row.items()}},
    ):
        assert server.post(body).json == {"predictions": expected}
    assert server.post({"inputs": row}).json == {"predictions": expected}
    assert server.ask(example.question) == server.ask({"question": example.question})


def test_openais_client_is_answered(server: ModelServer, example: Example) -> None:
    client = OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["student"]
    url = "data:image/png;base64," + question(example)["image"]
    content: Any = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": example.question}]
    done = client.chat.completions.create(
        model="student", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=6
    )
    [expected] = server.ask(question(example))
    assert done.choices[0].message.content == expected["response"]
    assert done.choices[0].finish_reason in ("stop", "length")
    assert done.usage is not None
    assert done.usage.completion_tokens <= 6
    with pytest.raises(BadRequestError, match="contains 0 messages"):
        client.chat.completions.create(model="student", messages=[])
