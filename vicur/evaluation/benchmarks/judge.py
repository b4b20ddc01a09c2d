"""The judge: a model behind an OpenAI-compatible API. Asked with retries, and identified by what it says about itself."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from vicur.config.address import http_address
from vicur.config.benchmarks import API_KEY_VARIABLE
from vicur.errors import VicurError
from vicur.redaction import redacted

_LARGEST_REPLY = 4 << 20  # bytes
_TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504)
_PROBE = "Reply with the number 7 and nothing else."


class JudgeIdentity(BaseModel, frozen=True):
    """What the verdicts of a judge depend on. It belongs to a result: another judge moves scores by up to 8 points."""

    model: str
    """Name that the judge was asked by."""
    revision: str
    """Commit or checksum of its weights, as stated by the user; may be empty."""
    served: str
    """Model that its replies name."""
    fingerprint: str
    """``system_fingerprint`` of its replies; may be empty."""

    @property
    def hash(self) -> str:
        """Hash of all fields."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class Judge:
    """How to reach a judge.

    Attributes:
        url: base address of its API, such as ``http://judge:8000/v1``.
        model: name of the model there.
        revision: commit or checksum of its weights, for the record.
        key: API key; empty without one.
        tries: attempts per request.
        pause: seconds before the second attempt; doubles with each.
        timeout: seconds that a reply may take.
    """

    url: str
    model: str
    revision: str = ""
    key: str = ""
    tries: int = 4
    pause: float = 1.0
    timeout: float = 300.0

    def __post_init__(self) -> None:
        try:
            http_address(self.url, "http://judge:8000/v1", API_KEY_VARIABLE)
        except ValueError as error:
            raise VicurError(
                f"{error}.", where="--judge", remedy="Name the base address of an OpenAI-compatible API."
            ) from error

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request for a chat completion. The name of the model is filled in.

        Raises:
            JudgeError: if there is none after all attempts.
        """
        body = json.dumps({**request, "model": self.model}).encode()
        for attempt in range(self.tries):
            try:
                return self._once(body)
            except JudgeError as error:
                if not error.transient or attempt + 1 == self.tries:
                    raise
                time.sleep(self.pause * 2**attempt)
        raise AssertionError("unreachable")

    def probe(self) -> JudgeIdentity:
        """Ask a question with a known answer, and return who answered.

        Raises:
            VicurError: if there is no answer, or a wrong one.
        """
        request = {"messages": [{"role": "user", "content": _PROBE}], "temperature": 0, "max_tokens": 128}
        try:
            reply = self.ask(request)
        except JudgeError as error:
            raise self.unusable(f"does not answer a probe: {error}") from error
        if "7" not in content_of(reply):
            raise self.unusable(f"answers the probe {_PROBE!r} with {content_of(reply)[:80]!r}")
        return self.identity(reply)

    def identity(self, reply: dict[str, Any]) -> JudgeIdentity:
        """Return who a reply is from."""
        return JudgeIdentity(
            model=self.model,
            revision=self.revision,
            served=str(reply.get("model") or ""),
            fingerprint=str(reply.get("system_fingerprint") or ""),
        )

    def unusable(self, problem: str) -> VicurError:
        """Return the error for a judge that fails. No score is written then."""
        return VicurError(
            f"the judge {self.model} {problem}. Nothing was scored.",
            where=f"--judge {redacted(self.url)}",
            remedy="Start the judge, or correct its address and model, and run the command again: its replies are kept.",
            retryable=True,
        )

    def _once(self, body: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)  # noqa: S310 (checked)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310 (checked)
                reply = json.loads(response.read(_LARGEST_REPLY))
        except urllib.error.HTTPError as error:
            raise JudgeError(f"HTTP status {error.code}", transient=error.code in _TRANSIENT) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise JudgeError(str(reason) or type(error).__name__, transient=True) from error
        content_of(reply)
        return dict(reply)


class JudgeError(Exception):
    """A request without a usable reply."""

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(redacted(reason))
        self.transient = transient


def content_of(reply: Any) -> str:
    """Return the text of a chat completion.

    Raises:
        JudgeError: if it has none.
    """
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        content = None
    if not isinstance(content, str) or not content.strip():
        raise JudgeError("a reply without text", transient=True)
    return content
