"""Streams the log of a job's first node while it runs."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from vicur.cluster.jobs.api import Api, node_of
from vicur.cluster.jobs.overrides import NODE
from vicur.errors import VicurError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_DRAIN_LOOK_SECONDS = 0.05
_FRACTION = 9
_STAMP = re.compile(r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.(?P<fraction>\d+))?(?P<offset>Z|[+-]\d\d:\d\d)")


class LogStream:
    """Tells the lines of node 0, each once, as long as it is entered: in a thread of its own, over lost connections and new pods.

    Args:
        api: the cluster.
        job: the job's name.
        tell: is given each line.
    """

    def __init__(self, api: Api, job: str, tell: Callable[[str], object]) -> None:
        self._api, self._job, self._tell = api, job, tell
        self._read: dict[str, tuple[datetime, str]] = {}
        self._done: set[str] = set()
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
        pause = _LOOK_SECONDS
        while not self._ended.is_set():
            self._look.clear()
            begun, told = time.monotonic(), dict(self._read)
            if self._follow_all():
                self._whole_at = begun
            # A job may wait in its queue for days.
            pause = _LOOK_SECONDS if self._read != told else min(2 * pause, max(_LOOK_SECONDS, self._api.pace.tick))
            self._look.wait(pause)

    def _follow_all(self) -> bool:
        """Follows the pods that have been node 0 to their ends. Says whether all that they wrote was read."""
        try:
            pods = [pod for pod in self._api.pods(self._job) if node_of(pod) == 0]
        except VicurError as error:
            # The log is for people: whether the job goes well does not hang on it.
            log.debug("the log of %s is not read: %s", self._job, error)
            return False
        started = [pod for pod in pods if pod["status"].get("phase") != "Pending"]
        # One that cannot be read does not hide the others.
        read = [self._follow(pod) for pod in started if pod["metadata"]["name"] not in self._done]
        return all(read)

    def _follow(self, pod: Mapping[str, Any]) -> bool:
        """Tells what is new in a pod's log until the pod ends; false where something may be missing."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        name, ended = pod["metadata"]["name"], pod["status"].get("phase") in ("Succeeded", "Failed")
        # Only what is read a second time is passed over: a node's clock may go back.
        told, whole = self._read.get(name), True
        try:
            with closing(self._api.follow(name, NODE)) as chunks:
                for line in _lines(chunks, ended):
                    if self._ended.is_set():
                        return False
                    stamp, _, text = line.partition(" ")
                    moment = _moment(stamp)
                    if moment is None:
                        log.debug("the log of %s cannot be read on: %s", name, line)
                        whole = False
                    elif told is None or moment > told:
                        told, self._read[name] = None, moment
                        self._tell(text)
        except (ApiException, HTTPError, OSError) as error:
            log.debug("the log of %s broke off: %s", name, error)
            return False
        if whole and ended:
            self._done.add(name)
        return whole


def _lines(chunks: Iterator[bytes], ended: bool) -> Iterator[str]:
    """Lines of a stream. One that the stream breaks off within is left out, unless the pod has ended: it is told whole when the log is read
    again.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest and ended:
        yield rest.decode(errors="replace")


def _moment(stamp: str) -> tuple[datetime, str] | None:
    """A time like ``2026-01-31T12:00:00.12Z``, or with the node's offset, so that it sorts; the server leaves zeros at its end out.

    None where it is no time: what a node has to say of a log that it cannot read stands among the lines.
    """
    found = _STAMP.fullmatch(stamp)
    if found is None:
        return None
    return datetime.fromisoformat(found["seconds"] + found["offset"]), (found["fraction"] or "").ljust(_FRACTION, "0")
