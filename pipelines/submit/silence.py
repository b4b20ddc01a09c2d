"""Notice that a server has stopped reporting the steps of a run."""

# Argo compresses the status of a workflow above 1 MiB, which KFP does not read: from then on the tasks of the run stay as they are,
# though the run's own state is right. A server does not say so, and a long training looks the same.

from __future__ import annotations

import time
from collections.abc import Callable

_CHECK_SECONDS = 60.0
"""Time without news after which Kubernetes is queried, and between two such queries."""
_IDLE_SECONDS = 180.0
"""Time without news after which something is wrong if no pod runs. KFP starts the next pod within half a minute."""
_BUSY_SECONDS = 1800.0
"""Time without news after which it is worth a remark although a pod runs."""


class Silence:
    """Time since a server last reported something new. Its message is returned once.

    ``is_compressed`` returns whether the status of the run's workflow is compressed, or ``None`` if Kubernetes is not available.
    """

    def __init__(self, is_compressed: Callable[[], bool | None] = lambda: None) -> None:
        self._is_compressed = is_compressed
        self._since = self._queried = time.monotonic()
        self._said = False

    def message(self, *, changed: bool, pod_runs: bool) -> str:
        """Return the message to print after a request; usually empty."""
        now = time.monotonic()
        if changed:
            self._since = self._queried = now
        if self._said or changed:
            return ""
        seconds = now - self._since
        certain = False
        if now - self._queried >= _CHECK_SECONDS:
            self._queried = now
            certain = bool(self._is_compressed())
        if not certain and seconds < (_BUSY_SECONDS if pod_runs else _IDLE_SECONDS):
            return ""
        self._said = True
        return _text(seconds / 60, certain=certain, pod_runs=pod_runs)


def _text(minutes: float, *, certain: bool, pod_runs: bool) -> str:
    follows = "The run's own state is still followed."
    if certain:
        return f"The server has stopped reporting steps: the status of the run's workflow exceeds 1 MiB. {follows}"
    if pod_runs:
        return (
            f"The server has reported no change of any step for {minutes:.0f} minutes. A long training looks like that; so does a run "
            f"whose status exceeds 1 MiB, and whose steps Kubeflow Pipelines no longer reports. {follows}"
        )
    return (
        f"The server has stopped reporting steps: no change for {minutes:.0f} minutes, although no pod of the run is pending or running. "
        f"Kubeflow Pipelines does so above 1 MiB of workflow status (docs/submitting.md). {follows}"
    )
