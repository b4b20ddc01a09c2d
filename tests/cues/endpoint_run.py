"""Runs of the endpoint provider against a double of an OpenAI-compatible server."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from tests.cues.openai_double import OpenAIDouble, ReceivedRequest, Reply, openai_double
from vicur.config.cues import EndpointCues
from vicur.cues.cue_cache import CueCache
from vicur.cues.endpoint import EndpointProvider
from vicur.cues.providers import NoCue
from vicur.data.schema import Example

KEY = "sk-very-secret"


def image(kind: str = "PNG", shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade % 256, shade // 256, 0)).save(buffer, kind)
    return buffer.getvalue()


def example(number: int = 0, **changes: Any) -> Example:
    fields = {
        "id": f"e{number}",
        "images": (image(shade=number),),
        "question": f"What is the sum of row {number}?",
        "answer": "4711",
        "rationale": "It is 4700 plus 11: rationale.",
        "cue": "Its own cue.",
        "source": "test",
        "split": "distill",
        "metadata": {"scene": "metadata"},
    }
    return Example(**{**fields, **changes})


@dataclass
class EndpointRun:
    """Runs of the endpoint provider against a double."""

    work: Path
    reply_to: Callable[[ReceivedRequest], Reply] = lambda _: Reply("Seen.")
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    cache_at: str | None = None
    double: OpenAIDouble | None = None

    def cues(self, *examples: Example) -> list[str | NoCue]:
        with openai_double(self.reply_to) as self.double:
            config = EndpointCues(url=self.double.url, **{"model": "vlm", "retries": 0, **self.settings})
            return list(EndpointProvider(config, self.seed, CueCache.at(self.work, self.cache_at)).cues(examples))

    @property
    def requests(self) -> list[ReceivedRequest]:
        assert self.double is not None
        return self.double.requests
