"""Streams the log of a job's first node while it runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from vicur.cluster.jobs.api import Api, node_of
from vicur.cluster.jobs.overrides import NODE
from vicur.errors import VicurError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_DRAIN_LOOK_SECONDS = 0.05
_FRACTION = 9


class LogStream:
    """Tells the lines of node 0, each once, as long as it is entered: in a thread of its own, over lost connections and new pods.

    Args:
        api: the cluster.
        job: the job's name.
        tell: is given each line.
    """

    def __init__(self, api: Api, job: str, tell: Callable[[str], object]) -> None:
        self._api, self._job, self._tell = api, job, tell
        self._read: dict[str, str] = {}
        self._whole_at = float("-inf")
        self._ended, self._look = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> LogStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._look.set()

    def drain(self, seconds: float) -> None:
        """Waits until all that the node has written is told, at most for ``seconds``. To be called once the node has ended."""
        asked = time.monotonic()
        self._look.set()
        while self._whole_at < asked and time.monotonic() < asked + seconds:
            time.sleep(_DRAIN_LOOK_SECONDS)

    def _work(self) -> None:
        while not self._ended.is_set():
            self._look.clear()
            begun = time.monotonic()
            if self._follow_all():
                self._whole_at = begun
            self._look.wait(_LOOK_SECONDS)

    def _follow_all(self) -> bool:
        """Follows the pods that have been node 0 to their ends. Says whether all that they wrote was read."""
        try:
            pods = [pod for pod in self._api.pods(self._job) if node_of(pod) == 0]
        except VicurError as error:
            # The log is for people: whether the job goes well does not hang on it.
            log.debug("the log of %s is not read: %s", self._job, error)
            return False
        started = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") != "Pending"]
        # One that cannot be read does not hide the others.
        read = [self._follow(pod) for pod in started]
        return all(read)

    def _follow(self, pod: str) -> bool:
        """Tells what is new in a pod's log until the pod ends; false where the connection was lost before."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with closing(self._api.follow(pod, NODE)) as chunks:
                for line in _lines(chunks):
                    if self._ended.is_set():
                        return False
                    stamp, _, text = line.partition(" ")
                    if (moment := _sortable(stamp)) > self._read.get(pod, ""):
                        self._read[pod] = moment
                        self._tell(text)
        except (ApiException, HTTPError, OSError) as error:
            log.debug("the log of %s broke off: %s", pod, error)
            return False
        return True


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines of a stream. Where the connection breaks off within one, it is left out: it is told whole when the log is read again."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def _sortable(stamp: str) -> str:
    """A time like ``2026-01-31T12:00:00.12Z`` so that texts sort as times do: the server leaves zeros at its end out."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{seconds}.{fraction.ljust(_FRACTION, '0')}"
