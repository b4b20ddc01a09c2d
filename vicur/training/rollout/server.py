"""vLLM as a server on other devices: prompts and answers go over HTTP, weights through a file that both see.

Prompts go as token ids, with their images as they are encoded, to vLLM's own endpoint for tokens (``/inference/v1/generate``). Weights are
written to shared memory, or to a folder on a disk that both mount, and removed once the server has them.
"""

from __future__ import annotations

import base64
import io
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

from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from vicur.config.vllm import API_KEY_VARIABLE, Vllm
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur.modeling.disk import disk_errors
from vicur.storage.folders import partial_of, sweep

_STEM = "vicur-weights-"
"""What the names of files with weights begin with."""
# Requests that wait for answers at once; the server itself decides how many it works on.
_WAITING = 256


class Server:
    """A server that ``vicur rollout-server`` has started.

    Args:
        config: where it is.
        teacher: whether it scores for the teacher rather than draw rollouts.
    """

    shared = True

    def __init__(self, config: Vllm, *, teacher: bool = False) -> None:
        assert config.url is not None
        self._setting = f"training.{'teacher' if teacher else 'rollout'}.engine"
        self._command = "rollout-server --teacher" if teacher else "rollout-server"
        self._url = config.url.rstrip("/")
        self._exchange = config.exchange
        self._patience = config.patience
        self._given: str | None = None
        self._threads = ThreadPoolExecutor(_WAITING, thread_name_prefix="rollouts")

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
        """Hands weights over, and drops what the server has computed with others.

        Returns:
            Sums of what it holds now.

        Raises:
            VicurError: where it does not take them, or the exchange folder does not.
        """
        # Whole in the host's memory: a file of safetensors begins with the places of all.
        kept = {name: weight.detach().cpu().contiguous() for name, weight in weights}
        self._sweep()
        file = partial_of(self._exchange / f"{_STEM}{uuid.uuid4().hex}")
        try:
            self._write(kept, file)
            sums: dict[str, int] = self._call("vicur_take_weights", file.name)
        finally:
            file.unlink(missing_ok=True)
        for cache in ("encoder", "prefix"):
            self._post(f"/reset_{cache}_cache", {})
        self._given = file.name
        return sums

    def _sweep(self) -> None:
        """Removes what trainings that were killed here have left in the exchange folder: it may be memory."""
        for left in self._exchange.glob(f".{_STEM}*"):
            sweep(self._exchange / left.name[1:].partition(".")[0])

    def _write(self, weights: dict[str, Tensor], file: Path) -> None:
        try:
            with disk_errors(file):
                save_file(weights, file)
        except OSError as error:
            size = sum(weight.nbytes for weight in weights.values()) / 1e9
            raise VicurError(
                f"takes no file of {size:.2g} GB ({error.strerror}), and the weights are to pass through it.",
                where=f"{self._setting}.exchange {self._exchange}",
                remedy="Make room there, or name another folder, here and for vicur rollout-server. The training goes on from its "
                "checkpoint.",
                retryable=True,
            ) from error

    def held(self) -> dict[str, int]:
        """Sums of the weights that the server holds."""
        sums: dict[str, int] = self._call("vicur_held_weights")
        return sums

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers prompts, as the engine inside does.

        Raises:
            VicurError: where the server does not, or no longer holds the weights that this process gave it.
        """
        answers = list(self._threads.map(self._ask, prompts, parameters))
        if self._given is not None and self._given != self._call("vicur_weights_file"):
            raise self._failure(
                "holds other weights than this training gave it: it was started anew, or another training gives it weights, too"
            )
        return answers

    def require_ready(self) -> None:
        """Asks whether it is there.

        Raises:
            VicurError: where it is not.
        """
        try:
            with urllib.request.urlopen(f"{self._url}/health", timeout=min(10, self._patience)):  # noqa: S310 (http, see Vllm)
                return
        except (OSError, HTTPException) as error:
            raise self._failure(f"is not ready ({_said(error)})") from error

    def close(self) -> None:
        """Lets go of the connections; the server goes on."""
        self._threads.shutdown(cancel_futures=True)

    def _ask(self, prompt: Prompt, parameters: Mapping[str, Any]) -> dict[str, Any]:
        request: dict[str, Any] = {"token_ids": prompt.short_ids, "sampling_params": dict(parameters)}
        if prompt.pixels:
            request["content_parts"] = [
                {"type": "image_url", "url": _address(pixels.encoded), "uuid": pixels.key} for pixels in prompt.pixels
            ]
        answer = self._post("/inference/v1/generate", request)
        choice = answer["choices"][0]
        scored = answer.get("prompt_logprobs")
        told = choice["logprobs"]["content"] if choice.get("logprobs") else []
        return {
            "ids": choice["token_ids"],
            "logprobs": [token["logprob"] for token in told],
            "finished": choice["finish_reason"] == "stop",
            "prompt_logprobs": scored
            and [drawn[str(token)]["logprob"] for drawn, token in zip(scored[1:], prompt.ids[1:], strict=True)],
        }

    def _call(self, method: str, *arguments: str) -> Any:
        """What a method of the server's worker returns."""
        return self._post("/collective_rpc", {"method": method, "args": arguments})["results"][0]

    def _post(self, path: str, content: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(API_KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(content).encode(), headers)  # noqa: S310 (http, see Vllm)
        try:
            with urllib.request.urlopen(request, timeout=self._patience) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            refused = error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code != HTTPStatus.TOO_MANY_REQUESTS
            raise self._failure(
                f"answers {path} with {error.code} ({error.read().decode(errors='replace')[:500]})",
                retryable=not refused,
            ) from error
        except (OSError, HTTPException) as error:
            raise self._failure(f"does not answer {path} ({_said(error)})") from error
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise self._failure(
                f"answers {path} with what is no JSON ({_said(text.decode(errors='replace'))})"
            ) from error

    def _failure(self, problem: str, *, retryable: bool = True) -> VicurError:
        return VicurError(
            f"the server {problem}.",
            where=f"{self._setting}.url {self._url}",
            remedy=f"Start it with vicur {self._command}, and with the settings of this training; what it printed says more. The "
            "training goes on from its checkpoint.",
            retryable=retryable,
        )


def _said(what: object) -> str:
    """What went wrong, in one line."""
    return " ".join(str(what).split())[:500]


def _address(encoded: bytes) -> str:
    """An image in an address. vLLM would put one with transparency on white, and turn one as its EXIF says, where training does neither:
    such an image goes as its bare pixels.
    """
    with Image.open(io.BytesIO(encoded)) as opened:
        plain = opened.mode == "RGB" and "transparency" not in opened.info and not opened.getexif()
        kind = opened.get_format_mimetype() if plain else None
        if kind is None:
            written = io.BytesIO()
            opened.convert("RGB").save(written, "PNG")
            kind, encoded = "image/png", written.getvalue()
    return f"data:{kind};base64,{base64.b64encode(encoded).decode()}"
