"""Cues from a vision-language model behind an OpenAI-compatible endpoint, several requests at a time.

The cue is what the model says of image and question; the answer is not among what it is told. Every cue is kept as it comes, so that an
extraction that was interrupted asks only for the rest. An example that gets no answer is skipped; where none gets one, the
endpoint is down, and the stage stops so that it can go on later.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from vicur.config.cues import EndpointCues
from vicur.cues.cue_cache import CueCache
from vicur.cues.cue_model import CueModel, NoAnswerError
from vicur.cues.cue_prompt import CUE_PROMPTS
from vicur.cues.providers import NoCue
from vicur.errors import VicurError
from vicur.seeds import substream

if TYPE_CHECKING:
    from vicur.data.schema import Example

# So many requests without an answer, and none with one in between, are not the examples' fault.
_DOWN_AFTER = 8
_SEEDS = 2**31  # servers take seeds below it


class EndpointProvider:
    """Asks a model.

    Args:
        config: which, where and how.
        seed: root seed.
        kept: cues that were given before, and where new ones are kept.

    Raises:
        VicurError: where the client is not installed.
    """

    name: str = "endpoint"
    fitted_on: tuple[str, ...] = ()

    def __init__(self, config: EndpointCues, seed: int, kept: CueCache) -> None:
        self._config = config
        self._model = CueModel(config, substream(seed, "cues", "endpoint") % _SEEDS)
        self._kept = kept
        self._lock = threading.Lock()
        self._unanswered = 0

    @property
    def fingerprint(self) -> str:
        """The model's name, and the words that it is asked with."""
        prompt = CUE_PROMPTS[self._config.prompt]
        words = hashlib.sha256(f"{prompt.system}\0{prompt.user}".encode()).hexdigest()[:12]
        return f"{self._config.model}, prompt {self._config.prompt} ({words})"

    def fit(self, examples: Iterable[Example]) -> None:
        """Has nothing to learn."""

    def cues(self, examples: Sequence[Example]) -> Iterator[str | NoCue]:
        """Asks for the cue of each example; so many requests at a time as are configured.

        Raises:
            VicurError: for a wrong key, address or model, and, to be tried again later, where the endpoint is down.
        """
        with self._kept, ThreadPoolExecutor(self._config.concurrency) as pool:
            try:
                yield from pool.map(self._cue, examples)
            except BaseException:
                # Also at Ctrl-C: nobody waits for retries of what is under way.
                self._model.close()
                raise

    def _cue(self, example: Example) -> str | NoCue:
        if not example.images:
            return NoCue("the example has no image")
        request = self._model.request(example)
        known = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        cue: str | NoCue | None = self._kept.get(known)
        if cue is not None:
            return cue
        try:
            cue = self._model.ask(request, example.id)
        except NoAnswerError as error:
            return self._no_answer(error)
        with self._lock:
            self._unanswered = 0
        if isinstance(cue, str):
            self._kept.keep(known, cue)
        return cue

    def _no_answer(self, error: NoAnswerError) -> NoCue:
        """The example is skipped, unless many others in a row have no answer either."""
        with self._lock:
            self._unanswered += 1
            down = self._unanswered >= _DOWN_AFTER
        if down:
            raise VicurError(
                f"gives no answers: {self._unanswered} in a row, the last because {error.reason} ({error.detail}).",
                where=self._config.url,
                remedy="Start the endpoint or lower cues.provider.concurrency, and run this again: what was answered is kept.",
                retryable=True,
            ) from error
        return NoCue(error.reason)
