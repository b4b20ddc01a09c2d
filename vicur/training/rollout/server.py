"""One vLLM server: prompts and responses go over HTTP, weights through a file that both sides see, or over HTTP as well.

Prompts are sent as token ids with their encoded images to vLLM's endpoint for tokens (``/inference/v1/generate``). Each request names the
weights that it wants. A server with other weights, such as one that has just restarted, refuses it.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from vicur.config.vllm import API_KEY_VARIABLE
from vicur.data.images import media_type
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt

WEIGHTS_HEADER = "X-Vicur-Weights"
"""Header of a request with the name of the weights that it is meant for."""
_SHOWN_CHARACTERS = 500
_PROBE_SECONDS = 10.0
_OTHER_WEIGHTS, _NO_WEIGHTS = HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE


class Problem(Enum):
    """What kept a server from answering."""

    ABSENT = "absent"
    """It does not respond, or has no weights yet: it may be restarting."""
    OTHER_WEIGHTS = "other weights"
    FAILED = "failed"
    """It rejected the request. Another server would, too."""


class ServerError(VicurError):
    """Error of a request to a server."""

    kind = Problem.FAILED


class Server:
    """A server started by ``vicur rollout-server``, or with the training.

    Args:
        setting: setting that it belongs to, for messages.
        command: command that starts it by hand, for messages.
        timeout: seconds for one request.
    """

    def __init__(self, url: str, setting: str, command: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._setting = setting
        self._command = command
        self._timeout = timeout

    def load(self, name: str) -> list[Any]:
        """Let it load the weights file ``name``, reset its caches, and return each worker's sums of the weights that it holds now."""
        results: list[Any] = self._call("vicur_take_weights", name)
        for cache in ("encoder", "prefix"):
            self._post(f"/reset_{cache}_cache", {})
        return results

    def upload(self, file: Path) -> None:
        """Send a weights file to a server that does not see its folder."""
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))}
            # A view: a file object would be sent in small blocks.
            with memoryview(content) as view:
                self._send(f"/vicur/weights/{file.name}", view, headers)

    def held(self) -> list[Any]:
        """Return each worker's sums of the weights that it holds."""
        results: list[Any] = self._call("vicur_held_weights")
        return results

    def weights_name(self) -> str | None:
        """Return the name of the file that it is loading weights from, or has last loaded them from, if any."""
        answer = self._json("/vicur/weights", self._send("/vicur/weights", None, {}, _PROBE_SECONDS))
        name: str | None = answer.get("loading") or answer["name"]
        return name

    def require_ready(self) -> None:
        """Raise a ``ServerError`` if the server does not respond."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=min(_PROBE_SECONDS, self._timeout)):  # noqa: S310 (http, see Vllm)
                return
        except (OSError, HTTPException) as error:
            raise self.error(f"is not ready: {_reason(error)}", kind=Problem.ABSENT) from error

    def generate(self, prompt: Prompt, parameters: Mapping[str, Any], weights: str | None) -> dict[str, Any]:
        """Answer a prompt with the weights named ``weights`` (``None``: its own)."""
        request: dict[str, Any] = {"token_ids": prompt.short_ids, "sampling_params": dict(parameters)}
        if prompt.pixels:
            request["content_parts"] = [
                {"type": "image_url", "url": _data_url(pixels.encoded), "uuid": pixels.key} for pixels in prompt.pixels
            ]
        answer = self._post("/inference/v1/generate", request, {WEIGHTS_HEADER: weights} if weights else {})
        choice = answer["choices"][0]
        scored = answer.get("prompt_logprobs")
        tokens = choice["logprobs"]["content"] if choice.get("logprobs") else []
        return {
            "ids": choice["token_ids"],
            "logprobs": [token["logprob"] for token in tokens],
            "finished": choice["finish_reason"] == "stop",
            "prompt_logprobs": scored
            and [each[str(token)]["logprob"] for each, token in zip(scored[1:], prompt.ids[1:], strict=True)],
        }

    def error(self, problem: str, *, kind: Problem = Problem.FAILED, retryable: bool = True) -> ServerError:
        """Return an error that names this server."""
        error = ServerError(
            f"the server {problem}.",
            where=f"{self._setting} {self.url}",
            remedy=f"Start it with vicur {self._command} and the settings of this training, and see what it printed. The training resumes "
            "from its last checkpoint.",
            retryable=retryable,
        )
        error.kind = kind
        return error

    def _call(self, method: str, *arguments: str) -> list[Any]:
        results: list[Any] = self._post("/collective_rpc", {"method": method, "args": arguments})["results"]
        return results

    def _post(self, path: str, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self._json(path, self._send(path, json.dumps(content).encode(), sent))

    def _json(self, path: str, text: bytes) -> Any:
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise self.error(f"returned invalid JSON for {path}: {_one_line(text.decode(errors='replace'))}") from error

    def _send(self, path: str, body: Any, headers: dict[str, str], timeout: float | None = None) -> bytes:
        if key := os.environ.get(API_KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}{path}", body, headers)  # noqa: S310 (http, see Vllm)
        try:
            with urllib.request.urlopen(request, timeout=timeout or self._timeout) as response:  # noqa: S310
                text: bytes = response.read()
                return text
        except urllib.error.HTTPError as error:
            # 4xx means that the same request will fail again, except for "too many requests".
            permanent = error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code != HTTPStatus.TOO_MANY_REQUESTS
            kinds: dict[int, Problem] = {_OTHER_WEIGHTS: Problem.OTHER_WEIGHTS, _NO_WEIGHTS: Problem.ABSENT}
            body_text = error.read().decode(errors="replace")
            raise self.error(
                f"returned status {error.code} for {path}: {_one_line(body_text) or error.reason}",
                kind=kinds.get(error.code, Problem.FAILED),
                retryable=not permanent,
            ) from error
        except (OSError, HTTPException) as error:
            raise self.error(f"did not respond to {path}: {_reason(error)}", kind=Problem.ABSENT) from error


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARACTERS]


def _reason(error: Exception) -> str:
    # URLError wraps the error of the connection.
    cause = getattr(error, "reason", error)
    return _one_line(getattr(cause, "strerror", None) or str(cause)) or type(cause).__name__


def _data_url(encoded: bytes) -> str:
    return f"data:{media_type(encoded)};base64,{base64.b64encode(encoded).decode()}"
