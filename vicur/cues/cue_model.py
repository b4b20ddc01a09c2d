"""Client of a vision-language model behind an OpenAI-compatible endpoint: one request per example, and the interpretation of its reply."""

from __future__ import annotations

import base64
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vicur.config.cues import API_KEY_VARIABLE, EndpointCues
from vicur.config.prompts import PromptConfig
from vicur.cues.cue_prompt import CUE_PROMPTS, NOTHING
from vicur.cues.providers import NoCue
from vicur.data.images import UnusableImageError, media_type, plain_size, scaled_down
from vicur.data.prompt_budget import least_tokens
from vicur.errors import VicurError
from vicur.prompts import ImagePart, Part, content_of
from vicur.redaction import redacted, sendable

if TYPE_CHECKING:
    from vicur.data.schema import Example

log = logging.getLogger(__name__)

MOST_FRAMES = 32
"""Frames of a video that are sent, spread over it."""
_TOKEN_SIDE = 32  # pixels of a visual token of Qwen3-VL
_MOST_PIXELS = 16_777_216  # of an image that its processor does not scale down
_EXCERPT = 300  # characters of a server's reply in a message


class NoCompletionError(Exception):
    """The endpoint gave no reply after all retries. One failure does not show whether the endpoint or the example is at fault."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason  # equal for equal causes, so that reasons can be counted
        self.detail = detail  # what the server or the connection reported


@contextmanager
def _image_errors(example: Example) -> Iterator[None]:
    """Report an unusable image as a ``VicurError`` that names its example."""
    try:
        yield
    except UnusableImageError as error:
        raise VicurError(f"{error.reason}.", where=f"example {example.id}, images", remedy=error.remedy) from error


class CueModel:
    """Client of the model that writes cues. Thread-safe.

    Raises:
        VicurError: if the client library is not installed, or the key contains characters that cannot be sent.
    """

    def __init__(self, config: EndpointCues, seed: int, prompts: PromptConfig | None = None) -> None:
        try:
            from openai import Omit, OpenAI
        except ImportError as error:
            raise VicurError(
                "cues.provider=endpoint needs the OpenAI client library, which is not installed.",
                remedy="Install vicur[endpoint].",
            ) from error
        self._config = config
        self._seed = seed  # for servers that sample even at temperature 0
        self._prompt = CUE_PROMPTS[config.prompt]
        prompts = prompts or PromptConfig()
        self._template, system = prompts.choices_template, prompts.system
        # The teacher reads the cue next to the image, so the cue is written from what the teacher sees. The endpoint's own processor makes
        # small images larger, so only the upper limit is applied here.
        self._max_pixels = prompts.pixels.of("teacher").max
        self._data_system = system
        self._key = endpoint_key()
        # Without these, the client would send OPENAI_* settings from the environment to this endpoint.
        self._headers: dict[str, Any] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        if not self._key:
            self._headers["Authorization"] = Omit()
        self._client = OpenAI(
            base_url=config.url, api_key=self._key or "none", timeout=config.timeout, max_retries=config.retries
        )

    def request(self, example: Example) -> dict[str, Any]:
        """Build the request for an example. It contains the images, the question and its choices, never the answer.

        Raises:
            ContentError: if the images or choices cannot be shown.
        """
        is_video = example.video is not None
        content = content_of(example.question, example.choices, example.visuals, self._template, is_video=is_video)
        prompt = self._prompt.about_video if is_video else self._prompt
        parts = [shown for part in prompt.around(content) for shown in self._shown(part, example)]
        # The dataset's own system message says what the images are; that of the cue prompt says what to do.
        system = prompt.system if self._data_system is None else f"{self._data_system}\n\n{prompt.system}"
        return {
            "model": self._config.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": parts},
            ],
            "max_tokens": self._config.max_tokens,
            "temperature": 0.0,
            "seed": self._seed,
        }

    def least_tokens(self, example: Example) -> int:
        """Return a number of tokens that the prompt of an example has at least, with its images as Qwen3-VL counts them.

        Raises:
            VicurError: if the header of an image cannot be read.
        """
        texts = (self._data_system or "", self._prompt.system, self._prompt.user, example.question, *example.choices)
        with _image_errors(example):
            return sum(map(least_tokens, texts)) + sum(map(self._visual_tokens, example.strip(MOST_FRAMES)))

    def _visual_tokens(self, image: bytes) -> int:
        width, height = plain_size(image)
        # What is larger is scaled down, here or by the server.
        ratio = min(1.0, math.sqrt(min(self._max_pixels or _MOST_PIXELS, _MOST_PIXELS) / (width * height)))
        return math.floor(width * ratio / _TOKEN_SIDE) * math.floor(height * ratio / _TOKEN_SIDE)

    def complete(self, request: dict[str, Any], example_id: str) -> str | NoCue:
        """Send a request from :meth:`request` and return the cue.

        Raises:
            NoCompletionError: if there is no reply after all retries.
            VicurError: if every request would fail, because of a wrong key, address or model.
        """
        import openai

        try:
            completion = self._client.chat.completions.create(**request, extra_headers=self._headers)
        except openai.APIStatusError as error:
            return self._status_error(error.status_code, self._excerpt(error), example_id)
        except openai.APITimeoutError as error:
            reason = f"no answer came within {self._config.timeout:g} s"
            raise NoCompletionError(reason, self._excerpt(error)) from error
        except openai.APIConnectionError as error:
            reason = "the endpoint could not be reached"
            raise NoCompletionError(reason, self._excerpt(error.__cause__ or error)) from error
        except (openai.OpenAIError, ValueError) as error:
            raise self._not_openai(self._excerpt(error)) from error
        # Some servers reply to a wrong path with a page and status 200, which the client passes through as text.
        if not isinstance(completion, openai.types.chat.ChatCompletion) or not completion.choices:
            raise self._not_openai(self._excerpt(completion))
        [choice, *_] = completion.choices
        return _cue(choice.message.content, choice.finish_reason)

    def _shown(self, part: Part, example: Example) -> Iterator[dict[str, Any]]:
        """Yield what is sent for a part of the prompt. A video is sent as frames, each after its time, which every endpoint accepts."""
        if isinstance(part, str):
            yield {"type": "text", "text": part}
        elif isinstance(part, ImagePart):
            yield self._image(example.images[part.index], example)
        else:
            assert example.video is not None
            for place in example.strip_places(MOST_FRAMES):
                yield {"type": "text", "text": f"{example.video.timestamps[place]:.1f} seconds:"}
                yield self._image(example.images[place], example)

    def _image(self, image: bytes, example: Example) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self._data_url(image, example)}}

    def _data_url(self, image: bytes, example: Example) -> str:
        with _image_errors(example):
            sent = scaled_down(image, self._max_pixels)
        return f"data:{media_type(sent)};base64,{base64.b64encode(sent).decode()}"

    def close(self) -> None:
        """Abort running requests as soon as possible and refuse new ones."""
        self._client.close()

    def _status_error(self, status: int, detail: str, example_id: str) -> NoCue:
        """Return or raise the outcome of a status that persists after all retries."""
        where = self._config.url
        if status in (401, 403):
            problem = f"the endpoint rejects the key (status {status})."
            if not self._key:
                problem = f"the endpoint requires a key (status {status}), but {API_KEY_VARIABLE} is not set."
            raise VicurError(
                problem,
                where=where,
                remedy=f"Set the environment variable {API_KEY_VARIABLE} to a valid key (in a cluster: in the secret vicur-cue).",
            )
        if status == 404:
            raise VicurError(
                f"the endpoint does not serve the model {self._config.model!r} (status {status}: {detail}).",
                where=where,
                remedy="Correct cues.provider.model or cues.provider.url, which usually ends in /v1.",
            )
        if status in (408, 409, 429) or status >= 500:
            raise NoCompletionError(f"the endpoint answered with status {status}", detail)
        # Any other 4xx is about this request (an image that is too large, say), so only this example is skipped.
        log.warning("%s: the endpoint rejected the request (status %d: %s)", example_id, status, detail)
        return NoCue(f"the endpoint refused the request (status {status})")

    def _not_openai(self, detail: str) -> VicurError:
        return VicurError(
            f"the reply is not one of the OpenAI API ({detail}).",
            where=self._config.url,
            remedy="Correct cues.provider.url, which usually ends in /v1.",
        )

    def _excerpt(self, source: object) -> str:
        """Return the beginning of a reply or error, with the key redacted."""
        text = " ".join(str(source).split())[:_EXCERPT]
        return redacted(text.replace(self._key, "***") if self._key else text)


def endpoint_key(variable: str = API_KEY_VARIABLE) -> str:
    """Return the endpoint's key from the environment, stripped of whitespace, or an empty string.

    Raises:
        VicurError: if it contains characters that cannot be sent in a header.
    """
    key = os.environ.get(variable, "").strip()
    if key and not sendable(key):
        raise VicurError(
            "the key contains spaces, line breaks or non-ASCII characters.",
            where=variable,
            remedy="Set the variable to the key alone (in a cluster: in the secret vicur-cue).",
        )
    return key


def _cue(content: str | None, finish_reason: str) -> str | NoCue:
    # Keep what follows the chain of thought. JSON may escape a lone surrogate, which cannot be written to a file.
    reply = (content or "").rpartition("</think>")[2].encode("utf-8", "replace").decode()
    text = " ".join(reply.split())
    if finish_reason == "length":
        return NoCue("the model's answer was cut off at max_tokens")
    if finish_reason == "content_filter":
        return NoCue("the endpoint held the model's answer back")
    if not text:
        return NoCue("the model answered nothing")
    if text.strip(" .\"'*").casefold() == NOTHING.casefold():
        return NoCue("the model sees nothing that the question asks about")
    return text
