"""A vLLM server on other devices: prompts and responses go over HTTP, weights through a file that both sides see.

Prompts are sent as token ids with their encoded images to vLLM's endpoint for tokens (``/inference/v1/generate``). Weights are written to
shared memory, or to a folder on a shared disk, and deleted once the server has loaded them.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from vicur.config.vllm import API_KEY_VARIABLE, Vllm
from vicur.data.images import media_type
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur.modeling.disk import disk_errors
from vicur.storage.folders import partial_of, sweep

_STEM = "vicur-weights-"
"""Prefix of the names of weight files."""
# Concurrent requests. The server decides how many of them it processes at once.
_CONCURRENCY = 256
_SHOWN_CHARACTERS = 500


class Server:
    """A server started by ``vicur rollout-server``."""

    shared = True

    def __init__(self, config: Vllm, *, teacher: bool = False) -> None:
        self._setting = f"training.{'teacher' if teacher else 'rollout'}.engine"
        self._command = "rollout-server --teacher" if teacher else "rollout-server"
        self._url = config.url[0].rstrip("/")
        self._exchange = config.exchange
        self._timeout = config.patience
        self._sent: str | None = None
        self._threads = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="rollouts")

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
        """Send weights, reset the server's caches, and return the sums of the weights that it has loaded."""
        # All of them in memory: the header of a safetensors file has the offsets of every tensor.
        tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights}
        self._sweep()
        file = partial_of(self._exchange / f"{_STEM}{uuid.uuid4().hex}")
        try:
            self._write(tensors, file)
            sums: dict[str, int] = self._call("vicur_take_weights", file.name)
        finally:
            file.unlink(missing_ok=True)
        for cache in ("encoder", "prefix"):
            self._post(f"/reset_{cache}_cache", {})
        self._sent = file.name
        return sums

    def _sweep(self) -> None:
        # Files of killed trainings in /dev/shm would take memory until the next reboot.
        for left in self._exchange.glob(f".{_STEM}*"):
            sweep(self._exchange / left.name[1:].partition(".")[0])

    def _write(self, weights: dict[str, Tensor], file: Path) -> None:
        try:
            with disk_errors(file):
                save_file(weights, file)
        except OSError as error:
            size = sum(weight.nbytes for weight in weights.values()) / 1e9
            raise VicurError(
                f"cannot write {size:.2g} GB of weights to {self._exchange}: {error.strerror}.",
                where=f"{self._setting}.exchange",
                remedy="Free space in this folder, or set another one, here and for vicur rollout-server. The training resumes from its "
                "last checkpoint.",
                retryable=True,
            ) from error

    def held(self) -> dict[str, int]:
        """Return the sums of the server's weights."""
        sums: dict[str, int] = self._call("vicur_held_weights")
        return sums

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer prompts, as declared in :class:`~vicur.training.rollout.vllm.VllmBackend`.

        Raises:
            VicurError: if the server fails, or no longer has the weights that this process sent.
        """
        answers = list(self._threads.map(self._generate, prompts, parameters))
        # After the answers: had the weights been replaced meanwhile, some would be off policy.
        if self._sent is not None and self._sent != self._call("vicur_weights_file"):
            raise self._error(
                "has other weights than this training sent: it was restarted, or another training sends it weights too"
            )
        return answers

    def require_ready(self) -> None:
        """Raise a ``VicurError`` if the server does not respond."""
        try:
            with urllib.request.urlopen(f"{self._url}/health", timeout=min(10, self._timeout)):  # noqa: S310 (http, see Vllm)
                return
        except (OSError, HTTPException) as error:
            raise self._error(f"is not ready: {_reason(error)}") from error

    def close(self) -> None:
        # The server keeps running.
        self._threads.shutdown(cancel_futures=True)

    def _generate(self, prompt: Prompt, parameters: Mapping[str, Any]) -> dict[str, Any]:
        request: dict[str, Any] = {"token_ids": prompt.short_ids, "sampling_params": dict(parameters)}
        if prompt.pixels:
            request["content_parts"] = [
                {"type": "image_url", "url": _data_url(pixels.encoded), "uuid": pixels.key} for pixels in prompt.pixels
            ]
        answer = self._post("/inference/v1/generate", request)
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

    def _call(self, method: str, *arguments: str) -> Any:
        return self._post("/collective_rpc", {"method": method, "args": arguments})["results"][0]

    def _post(self, path: str, content: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(API_KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(content).encode(), headers)  # noqa: S310 (http, see Vllm)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310
                text = response.read()
        except urllib.error.HTTPError as error:
            # 4xx means that the same request will fail again, except for "too many requests".
            permanent = error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code != HTTPStatus.TOO_MANY_REQUESTS
            body = error.read().decode(errors="replace")
            raise self._error(
                f"returned status {error.code} for {path}: {_one_line(body) or error.reason}", retryable=not permanent
            ) from error
        except (OSError, HTTPException) as error:
            raise self._error(f"did not respond to {path}: {_reason(error)}") from error
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise self._error(
                f"returned invalid JSON for {path}: {_one_line(text.decode(errors='replace'))}"
            ) from error

    def _error(self, problem: str, *, retryable: bool = True) -> VicurError:
        return VicurError(
            f"the server {problem}.",
            where=f"{self._setting}.url {self._url}",
            remedy=f"Start it with vicur {self._command} and the settings of this training, and see what it printed. The training resumes "
            "from its last checkpoint.",
            retryable=retryable,
        )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARACTERS]


def _reason(error: Exception) -> str:
    # URLError wraps the error of the connection.
    cause = getattr(error, "reason", error)
    return _one_line(getattr(cause, "strerror", None) or str(cause)) or type(cause).__name__


def _data_url(encoded: bytes) -> str:
    return f"data:{media_type(encoded)};base64,{base64.b64encode(encoded).decode()}"
