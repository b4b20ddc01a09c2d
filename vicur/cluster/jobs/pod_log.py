"""Stream the log of a job's node 0 while it runs."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from vicur.cluster.jobs.api import KubernetesApi, node_of, role_of
from vicur.cluster.jobs.overrides import NODE
from vicur.errors import VicurError

log = logging.getLogger(__name__)

_DRAIN_POLL_SECONDS = 0.05
_FRACTION = 9
_STAMP = re.compile(r"(?P<seconds>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.(?P<fraction>\d+))?(?P<offset>Z|[+-]\d\d:\d\d)")


class LogStream:
    """Context manager that prints each log line of node 0 once, across lost connections and replaced pods.

    The log is read in a background thread.
    """

    def __init__(self, api: KubernetesApi, job: str, print_line: Callable[[str], object]) -> None:
        self._api, self._job, self._print_line = api, job, print_line
        # Time of the last line read from each pod.
        self._last: dict[str, tuple[datetime, str]] = {}
        # Pods that have ended and whose logs were read completely.
        self._done: set[str] = set()
        # Start of the last pass that read everything.
        self._complete_at = float("-inf")
        self._closed, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LogStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._wake.set()

    def drain(self) -> None:
        """Wait until all lines are printed, at most for ``timing.log_drain``. Call this once the node has ended."""
        called = time.monotonic()
        self._wake.set()
        while self._complete_at < called and time.monotonic() < called + self._api.timing.log_drain:
            time.sleep(_DRAIN_POLL_SECONDS)

    def _run(self) -> None:
        timing = self._api.timing
        pause = timing.log_poll
        while not self._closed.is_set():
            self._wake.clear()
            started, before = time.monotonic(), dict(self._last)
            if self._follow_all():
                self._complete_at = started
            # Poll less often while nothing is new: a job may wait in its queue for days.
            pause = timing.log_poll if self._last != before else min(2 * pause, max(timing.log_poll, timing.poll))
            self._wake.wait(pause)

    def _follow_all(self) -> bool:
        """Follow every pod that has been node 0 until it ends. Return whether all of their logs was read."""
        try:
            pods = [pod for pod in self._api.pods(self._job) if role_of(pod) == NODE and node_of(pod) == 0]
        except VicurError as error:
            # The log is only for people. The job's success does not depend on it.
            log.debug("Cannot read the log of %s: %s", self._job, error)
            return False
        started = [pod for pod in pods if pod["status"].get("phase") != "Pending"]
        # A list, not a generator: if one pod's log cannot be read, those of the others are still read.
        read = [self._follow(pod) for pod in started if pod["metadata"]["name"] not in self._done]
        return all(read)

    def _follow(self, pod: Mapping[str, Any]) -> bool:
        """Print the new lines of a pod's log until the pod ends. Return whether nothing was missed."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        name, ended = pod["metadata"]["name"], pod["status"].get("phase") in ("Succeeded", "Failed")
        # Lines are skipped only until the first new one, not by comparing all of them: a node's clock may jump back.
        last, complete = self._last.get(name), True
        try:
            with closing(self._api.follow(name, NODE)) as chunks:
                for line in _lines(chunks, ended):
                    if self._closed.is_set():
                        return False
                    stamp, _, text = line.partition(" ")
                    moment = _moment(stamp)
                    if moment is None:
                        log.debug("The log of %s contains an error of its node: %s", name, line)
                        complete = False
                    elif last is None or moment > last:
                        last, self._last[name] = None, moment
                        self._print_line(text)
        except (ApiException, HTTPError, OSError) as error:
            log.debug("The log of %s broke off: %s", name, error)
            return False
        if complete and ended:
            self._done.add(name)
        return complete


def _lines(chunks: Iterator[bytes], ended: bool) -> Iterator[str]:
    """Split a stream into lines."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    # The connection may have been lost within the last line. It is left out then and read again, unless the pod has ended.
    if rest and ended:
        yield rest.decode(errors="replace")


def _moment(stamp: str) -> tuple[datetime, str] | None:
    """Parse a time such as ``2026-01-31T12:00:00.12Z``, with nanoseconds, to a sortable pair."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        # Errors of the node while it reads the log (such as "too many open files") appear among the lines, without a time.
        return None
    # datetime holds microseconds only, and the server leaves out trailing zeros.
    return datetime.fromisoformat(match["seconds"] + match["offset"]), (match["fraction"] or "").ljust(_FRACTION, "0")
