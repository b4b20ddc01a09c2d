"""One question to a vision-language model behind an OpenAI-compatible endpoint, and what its answer means."""

from __future__ import annotations

import base64
import logging
import os
from typing import TYPE_CHECKING, Any

from vicur.config.cues import API_KEY_VARIABLE, EndpointCues
from vicur.cues.cue_prompt import CUE_PROMPTS, NOTHING
from vicur.cues.providers import NoCue
from vicur.errors import VicurError
from vicur.redaction import redacted, sendable

if TYPE_CHECKING:
    from vicur.data.schema import Example

log = logging.getLogger(__name__)

_SHOWN = 300  # characters of what a server says


class NoAnswerError(Exception):
    """No answer after all retries. Whether the endpoint or the example is to blame cannot be told from one.

    Args:
        reason: what happened, the same for all examples that it happens to.
        detail: what the server or the connection said.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class CueModel:
    """The model that is asked. Several threads may ask at once.

    Args:
        config: which model, where, and how patiently.
        seed: seed of its sampling. It is asked to take the likeliest token each time, and needs none then; some servers draw all the same.

    Raises:
        VicurError: where the client is not installed, or the key cannot be sent.
    """

    def __init__(self, config: EndpointCues, seed: int) -> None:
        try:
            from openai import Omit, OpenAI
        except ImportError as error:
            raise VicurError(
                "needs the client of the OpenAI API, which is not installed.",
                where="cues.provider",
                remedy="Install vicur[endpoint].",
            ) from error
        self._config = config
        self._seed = seed
        self._prompt = CUE_PROMPTS[config.prompt]
        self._key = endpoint_key()
        # Nothing that the environment says of OpenAI's own service concerns this endpoint.
        self._headers: dict[str, Any] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        if not self._key:
            self._headers["Authorization"] = Omit()
        self._client = OpenAI(
            base_url=config.url, api_key=self._key or "none", timeout=config.timeout, max_retries=config.retries
        )

    def request(self, example: Example) -> dict[str, Any]:
        """What is sent for an example: its images and its question, and nothing else of it."""
        images = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in example.images]
        text = {"type": "text", "text": self._prompt.asked(example.question)}
        return {
            "model": self._config.model,
            "messages": [
                {"role": "system", "content": self._prompt.system},
                {"role": "user", "content": [*images, text]},
            ],
            "max_tokens": self._config.max_tokens,
            "temperature": 0.0,
            "seed": self._seed,
        }

    def ask(self, request: dict[str, Any], example_id: str) -> str | NoCue:
        """Sends a request.

        Args:
            request: what :meth:`request` made.
            example_id: the example, for the log.

        Raises:
            NoAnswerError: where none has come after all retries.
            VicurError: where none will come to any request: a wrong key, address or model.
        """
        import openai

        try:
            completion = self._client.chat.completions.create(**request, extra_headers=self._headers)
        except openai.APIStatusError as error:
            return self._refused(error.status_code, self._said(error), example_id)
        except openai.APITimeoutError as error:
            raise NoAnswerError(f"no answer came within {self._config.timeout:g} s", self._said(error)) from error
        except openai.APIConnectionError as error:
            raise NoAnswerError("the endpoint could not be reached", self._said(error.__cause__ or error)) from error
        except (openai.OpenAIError, ValueError) as error:
            raise self._foreign(self._said(error)) from error
        if not isinstance(completion, openai.types.chat.ChatCompletion) or not completion.choices:
            raise self._foreign(self._said(completion))
        [choice, *_] = completion.choices
        return _cue(choice.message.content, choice.finish_reason)

    def close(self) -> None:
        """Ends what is under way as soon as it can be, and sends nothing any more."""
        self._client.close()

    def _refused(self, status: int, said: str, example_id: str) -> NoCue:
        """What a status means that is still there after all retries."""
        where = self._config.url
        if status in (401, 403):
            raise VicurError(
                f"refuses the key ({status})." if self._key else f"wants a key ({status}).",
                where=where,
                remedy=f"Set the variable {API_KEY_VARIABLE} to a key of the endpoint (in a cluster: secret vicur-cue).",
            )
        if status == 404:
            raise VicurError(
                f"does not serve {self._config.model!r} ({status}: {said}).",
                where=where,
                remedy="Correct cues.provider.model, or the address: it ends in /v1 as a rule.",
            )
        if status in (408, 409, 429) or status >= 500:
            raise NoAnswerError(f"the endpoint answered with status {status}", said)
        log.warning("%s: the endpoint refuses its request (%d: %s)", example_id, status, said)
        return NoCue(f"the endpoint refused the request (status {status})")

    def _foreign(self, said: str) -> VicurError:
        return VicurError(
            f"does not answer as the OpenAI API does ({said}).",
            where=self._config.url,
            remedy="Correct cues.provider.url: it ends in /v1 as a rule.",
        )

    def _said(self, source: object) -> str:
        """The beginning of what a server or library said, without the key."""
        text = " ".join(str(source).split())[:_SHOWN]
        return redacted(text.replace(self._key, "***") if self._key else text)


def endpoint_key(variable: str = API_KEY_VARIABLE) -> str:
    """The endpoint's key, without the line break that files end in; empty where there is none.

    Raises:
        VicurError: where it can be no key.
    """
    key = os.environ.get(variable, "").strip()
    if key and not sendable(key):
        raise VicurError(
            "holds blanks, line breaks or letters that no key has.",
            where=variable,
            remedy="Set it to the key alone (in a cluster: secret vicur-cue).",
        )
    return key


def _cue(content: str | None, finish_reason: str) -> str | NoCue:
    # Models that think aloud end with what they mean to say. JSON can spell half a character, which no file can hold.
    said = (content or "").rpartition("</think>")[2].encode("utf-8", "replace").decode()
    text = " ".join(said.split())
    if finish_reason == "length":
        return NoCue("the model's answer was cut off at max_tokens")
    if finish_reason == "content_filter":
        return NoCue("the endpoint held the model's answer back")
    if not text:
        return NoCue("the model answered nothing")
    if text.strip(" .\"'*").casefold() == NOTHING.casefold():
        return NoCue("the model sees nothing that the question asks about")
    return text


def _data_url(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
