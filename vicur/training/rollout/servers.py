"""The servers of a training: requests are spread over them, and one that has restarted gets the weights again.

Rank 0 sends the weights. It keeps their file until the next update, so that a server that comes back without them gets the same ones. The
other ranks use another server meanwhile, or wait.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file
from torch import Tensor

from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.modeling.chat import Prompt
from vicur.modeling.disk import disk_errors
from vicur.modeling.weight_sums import combined
from vicur.storage.folders import partial_of, sweep
from vicur.training.rollout.addresses import Addresses
from vicur.training.rollout.server import Problem, Server, ServerError

log = logging.getLogger(__name__)

T = TypeVar("T")

_STEM = "vicur-weights-"
"""Prefix of the names of weight files."""
_NAME = re.compile(rf"{_STEM}(?P<training>[0-9a-f]+)-")
# Concurrent requests to each server, which decides how many of them it processes at once.
_CONCURRENCY = 256
# A server that did not respond is tried last for this many seconds.
_AVOIDED_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_WATCH_SECONDS = 3.0
# Attempts at a request that servers answer with an internal error (5xx).
_ATTEMPTS = 3


class Servers:
    """Servers with the same model.

    Args:
        part: ``rollout`` or ``teacher``.
        rank: of this process. Different ranks begin with different servers.
        placed: the servers that were started with the training. Without them, those at ``settings.url`` are used.
    """

    shared = True

    def __init__(self, settings: Vllm, part: str, rank: int = 0, placed: Addresses | None = None) -> None:
        urls = settings.url if placed is None else placed.urls[part]
        setting = f"training.{part}.engine.url" if placed is None else f"training.{part}.placement job,"
        command = "rollout-server --teacher" if part == "teacher" else "rollout-server"
        self._servers = [Server(url, setting, command, settings.patience) for url in urls]
        self._part = part
        self._rank = rank
        self._placed = placed
        # Servers of others are not waited for: nothing says that they will come back.
        self._wait = settings.start_minutes * 60 if placed is not None else 0.0
        self._exchange = settings.exchange if placed is None or placed.exchange else None
        self._training, self._updates = uuid.uuid4().hex, 0
        self._file: Path | None = None
        self._sums: dict[str, int | None] = {}
        self._failure: VicurError | None = None
        self._avoided: dict[str, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._threads = ThreadPoolExecutor(_CONCURRENCY * len(self._servers), thread_name_prefix=f"{part}-requests")
        self.generation: str | None = None
        """Name of the weights that requests are meant for; ``None`` if the servers loaded theirs at their start."""

    def expect(self, generation: str | None) -> None:
        """Use the weights that rank 0 has sent under this name."""
        self.generation = generation

    def require_ready(self) -> None:
        """Wait until all servers respond.

        Raises:
            VicurError: if one does not, or has ended for good.
        """
        list(self._threads.map(lambda server: self._until_present(server.require_ready), self._servers))

    def take(self, weights: Iterable[tuple[str, Tensor]]) -> dict[str, int | None]:
        """Send weights to all servers, reset their caches, and return the sums of the weights that they have loaded."""
        # All of them in memory: the header of a safetensors file has the offsets of every tensor.
        tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights}
        with self._lock:
            self._remove_file()
            self._updates += 1
            file = self._write(tensors)
            del tensors
            try:
                loaded = list(
                    self._threads.map(
                        lambda server: self._until_present(partial(self._push, server, file)), self._servers
                    )
                )
                for server, sums in zip(self._servers, loaded, strict=True):
                    if sums != loaded[0]:
                        raise server.error(f"has other weights than {self._servers[0].url}, which got the same file")
            except BaseException:
                file.unlink(missing_ok=True)
                raise
            self._file, self._sums, self.generation = file, loaded[0], file.name
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name=f"{self._part}-watch", daemon=True)
            self._watcher.start()
        return loaded[0]

    def held(self) -> dict[str, dict[str, int | None]]:
        """Return the sums of each server's weights, by its address."""
        return {server.url: combined(server.held()) for server in self._servers}

    def answer(self, prompts: Sequence[Prompt], parameters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer prompts, as declared in :class:`~vicur.training.rollout.vllm.VllmBackend`.

        Raises:
            VicurError: if the servers fail, or hold weights of another training.
        """
        answers = list(self._threads.map(self._answer, range(len(prompts)), prompts, parameters))
        if self.generation is not None:
            # After the answers: had the weights been replaced meanwhile, some would be off policy.
            list(self._threads.map(self._require_own, self._servers))
        if self._failure is not None:
            raise self._failure
        return answers

    def sleep(self) -> bool:
        """Do nothing: the memory of the servers is on other devices."""
        return False

    def close(self) -> None:
        """Stop watching the servers. They keep running."""
        self._closed.set()
        with self._lock:
            self._remove_file()
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, number: int, prompt: Prompt, parameters: Mapping[str, Any]) -> dict[str, Any]:
        first = (number + self._rank) % len(self._servers)
        order = [*self._servers[first:], *self._servers[:first]]
        deadline, failures = time.monotonic() + self._wait, 0
        while True:
            for server in sorted(order, key=self._is_avoided):
                try:
                    answer = server.generate(prompt, parameters, self.generation)
                except ServerError as error:
                    last = error
                    failures += error.kind is Problem.FAILED
                    if error.kind is Problem.FAILED and (not error.retryable or failures >= _ATTEMPTS):
                        raise
                    self._avoided[server.url] = time.monotonic() + _AVOIDED_SECONDS
                    if error.kind is Problem.OTHER_WEIGHTS:
                        self._require_own(server)
                else:
                    self._avoided.pop(server.url, None)
                    return answer
            self._pause(deadline, last)

    def _until_present(self, function: Callable[[], T]) -> T:
        deadline = time.monotonic() + self._wait
        while True:
            try:
                return function()
            except ServerError as error:
                if error.kind is not Problem.ABSENT:
                    raise
                self._pause(deadline, error)

    def _pause(self, deadline: float, error: ServerError) -> None:
        """Wait before the next attempt, or raise why there is none."""
        if self._placed is not None:
            self._placed.require_alive()
        if self._failure is not None:
            raise self._failure
        if time.monotonic() >= deadline:
            raise error
        time.sleep(_PAUSE_SECONDS)

    def _is_avoided(self, server: Server) -> bool:
        return self._avoided.get(server.url, 0.0) > time.monotonic()

    def _require_own(self, server: Server) -> None:
        """Raise a ``VicurError`` if a server holds weights of another training."""
        try:
            name = server.weights_name()
        except ServerError:
            # It is restarting. Its requests have failed, and were repeated.
            return
        if self._is_foreign(name):
            raise server.error("has other weights than this training sent: another training sends it weights too")

    def _is_foreign(self, name: str | None) -> bool:
        own, held = (_NAME.search(each or "") for each in (self.generation, name))
        return name is not None and (own is None or held is None or own["training"] != held["training"])

    def _push(self, server: Server, file: Path) -> dict[str, int | None]:
        if self._exchange is None:
            # Reports a wrong key, which a server cannot while it is sent a large body.
            server.weights_name()
            server.upload(file)
        return combined(server.load(file.name))

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_SECONDS):
            for server in self._servers:
                try:
                    self._restore(server)
                except VicurError as error:
                    log.debug("%s", error)

    def _restore(self, server: Server) -> None:
        """Send the weights again to a server that has restarted."""
        with self._lock:
            name = server.weights_name()
            if self._file is None or name == self.generation or self._is_foreign(name):
                return
            log.warning("The %s server at %s has restarted. It gets the weights again.", self._part, server.url)
            if self._push(server, self._file) != self._sums:
                self._failure = server.error("has restarted, and now computes with other weights than it was sent")
        self._avoided.pop(server.url, None)

    def _write(self, weights: dict[str, Tensor]) -> Path:
        folder = self._exchange or Path(os.environ.get("VICUR_SCRATCH") or tempfile.gettempdir())
        # Files of killed trainings in /dev/shm would take memory until the next reboot.
        for left in folder.glob(f".{_STEM}*"):
            sweep(folder / left.name[1:].partition(".")[0])
        file = partial_of(folder / f"{_STEM}{self._training}-{self._updates}")
        try:
            with disk_errors(file):
                save_file(weights, file)
        except OSError as error:
            file.unlink(missing_ok=True)
            size = sum(weight.nbytes for weight in weights.values()) / 1e9
            raise VicurError(
                f"cannot write {size:.2g} GB of weights to {folder}: {error.strerror}.",
                where=f"training.{self._part}.engine.exchange",
                remedy="Free space in this folder, or set another one, here and for vicur rollout-server. The training resumes from its "
                "last checkpoint.",
                retryable=True,
            ) from error
        return file

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None
