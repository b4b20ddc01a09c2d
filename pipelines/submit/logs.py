"""Read the logs that Kubeflow Pipelines keeps of a run's pods, as the artifact ``main-logs`` of their nodes."""

# The generated client lacks this path, which streams. The UI forwards it like the rest of the API. It needs no right in Kubernetes, and
# works after the pod is gone.

from __future__ import annotations

import base64
import binascii
import json
import re
from contextlib import closing
from typing import Any

from vicur_pipelines.submit.server import REQUEST_SECONDS, Server, answering

from vicur.errors import VicurError

_MOST_BYTES = 64 * 2**20
_TAIL_BYTES = 2**16
_CHUNK = 2**16


def read_log(server: Server, run_id: str, node: str) -> str | None:
    """Return the end of the log of a pod, or ``None`` if the server does not have it or does not answer."""
    address = f"{server.endpoint}/apis/v2beta1/runs/{run_id}/nodes/{node}/artifacts/main-logs:read"
    settings = server.api.configuration
    token = settings.get_api_key_with_prefix("authorization")
    headers = {"authorization": token} if token else {}
    try:
        with answering(server.endpoint):
            answer = server.api.rest_client.pool_manager.request(
                "GET", address, headers=headers, preload_content=False, timeout=REQUEST_SECONDS, retries=False
            )
            with closing(answer):
                return _decoded(answer) if answer.status == 200 else None
    except VicurError:
        return None


def _decoded(answer: Any) -> str:
    """Return the end of the text in ``{"data": "<base64>"}``, without holding a log of days in memory."""
    tail, size, start = b"", 0, b""
    for chunk in answer.stream(_CHUNK):
        start = (start + chunk)[:16] if len(start) < 16 else start
        size += len(chunk)
        tail = (tail + chunk)[-2 * _TAIL_BYTES :]
        if size > _MOST_BYTES:
            break
    head = re.match(rb'\{"data":\s*"', start)
    if head is None:
        raise ValueError("not an artifact")
    if size <= len(tail):
        return base64.b64decode(json.loads(tail)["data"]).decode("utf-8", "replace")
    # Four characters of base64 are three bytes, counted from the start of the text.
    offset = -(size - len(tail) - head.end()) % 4
    encoded = tail[offset:].rstrip(b'"}\n ')
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4)).decode("utf-8", "replace")
    except binascii.Error as error:
        raise ValueError("not base64") from error
