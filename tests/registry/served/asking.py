"""Ask a served student over HTTP, or a model in this process."""

from __future__ import annotations

import base64
from typing import Any

import mlflow

from tests.registry.model_server import Reply
from vicur.data.schema import Example

MEMORY_MB = 900
"""Most memory that the server may take beyond that after its first answer, whatever arrives."""
RECEIVE_SECONDS = 3


def question(example: Example) -> dict[str, Any]:
    return {"question": example.question, "image": base64.b64encode(example.images[0]).decode()}


def refused(reply: Reply, status: int) -> str:
    """Return the message of a refusal, which is JSON without a traceback or a path."""
    assert reply.status == status, reply.body[:500]
    assert reply.headers["content-type"] == "application/json"
    for leak in (b"Traceback", b"site-packages", b'File \\"', b"/tmp/", b"/code/", b".py"):
        assert leak not in reply.body
    return reply.problem


def ask(
    model: mlflow.pyfunc.PyFuncModel, image: object, question: str = "What is the sum of the left column?", **params
):
    answers = model.predict([{"question": question, "image": image}], params=params or None)
    assert list(answers.columns) == ["answer", "response", "error"]
    assert answers["error"][0] is None
    return answers["response"][0]


def error(model: mlflow.pyfunc.PyFuncModel, **row: object) -> str:
    """Return why a row was not asked."""
    [found] = model.predict([row]).to_dict("records")
    assert found["answer"] is found["response"] is None
    return str(found["error"])
