"""Cues from a vision-language model behind an OpenAI-compatible endpoint, with several requests at a time.

The cue is the model's description of image and question; the request does not contain the answer. Every cue is cached as it arrives, so
an interrupted extraction only requests the rest. An example without a reply is skipped. If many in a row get none, the endpoint is down
and the stage stops, so that it can resume later.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from vicur.config.cues import EndpointCues
from vicur.config.prompts import PromptConfig
from vicur.cues.cue_cache import CueCache
from vicur.cues.cue_model import CueModel, NoCompletionError
from vicur.cues.cue_prompt import CUE_PROMPTS
from vicur.cues.providers import NoCue
from vicur.errors import VicurError
from vicur.prompts import ContentError
from vicur.seeds import substream

if TYPE_CHECKING:
    from vicur.data.schema import Example

# The endpoint counts as down after this many failures in a row.
_DOWN_AFTER = 8
# Examples per concurrent request that are sent, or wait to be sent or used.
_WAITING = 16
_SEEDS = 2**31  # servers accept seeds below it


class EndpointProvider:
    """Cue provider that queries a model."""

    fitted_on: tuple[str, ...] = ()

    def __init__(self, config: EndpointCues, seed: int, cache: CueCache, prompts: PromptConfig | None = None) -> None:
        self._config = config
        self._model = CueModel(config, substream(seed, "cues", "endpoint") % _SEEDS, prompts)
        self._cache = cache
        self._lock = threading.Lock()
        self._unanswered = 0

    @property
    def fingerprint(self) -> str:
        """Name of the model, and version and hash of the prompt."""
        prompt = CUE_PROMPTS[self._config.prompt]
        words = hashlib.sha256(f"{prompt.system}\0{prompt.user}".encode()).hexdigest()[:12]
        return f"{self._config.model}, prompt {self._config.prompt} ({words})"

    def fit(self, examples: Iterable[Example]) -> None:
        """Do nothing: an endpoint needs no fitting."""

    def cues(self, examples: Iterable[Example]) -> Iterator[str | NoCue]:
        """Request the cue of each example, ``concurrency`` at a time."""
        with self._cache, ThreadPoolExecutor(self._config.concurrency) as pool:
            try:
                yield from self._in_order(pool, examples)
            except BaseException:
                # Also on Ctrl-C: leaving the pool's context would otherwise wait for all retries of running requests.
                self._model.close()
                raise

    def _in_order(self, pool: Executor, examples: Iterable[Example]) -> Iterator[str | NoCue]:
        coming: deque[Future[str | NoCue]] = deque()
        try:
            for example in examples:
                coming.append(pool.submit(self._cue, example))
                # Not more than needed to keep all requests going while one is slow: each waiting example holds its images.
                if len(coming) > _WAITING * self._config.concurrency:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for each in coming:
                each.cancel()

    def _cue(self, example: Example) -> str | NoCue:
        if not example.images:
            return NoCue("the example has no image")
        limit = self._config.max_prompt_tokens
        if self._model.least_tokens(example) > limit:
            return NoCue(f"the prompt is longer than cues.provider.max_prompt_tokens = {limit}")
        try:
            request = self._model.request(example)
        except ContentError as error:
            return NoCue(f"the {error.field} {error.reason}")
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        cue: str | NoCue | None = self._cache.get(key)
        if cue is not None:
            return cue
        try:
            cue = self._model.complete(request, example.id)
        except NoCompletionError as error:
            return self._no_answer(error)
        with self._lock:
            self._unanswered = 0
        if isinstance(cue, str):
            self._cache.put(key, cue)
        return cue

    def _no_answer(self, error: NoCompletionError) -> NoCue:
        """Skip the example, or raise if many in a row have failed."""
        with self._lock:
            self._unanswered += 1
            down = self._unanswered >= _DOWN_AFTER
        # Retryable: the step may succeed once the endpoint is back.
        if down:
            raise VicurError(
                f"the endpoint did not answer {self._unanswered} requests in a row. The last one failed because {error.reason} "
                f"({error.detail}).",
                where=self._config.url,
                remedy="Start the endpoint or lower cues.provider.concurrency, then run this again. Cues received so far are cached.",
                retryable=True,
            ) from error
        return NoCue(error.reason)
