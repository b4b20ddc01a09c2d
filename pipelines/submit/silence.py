"""Notice that a server has stopped reporting the steps of a run."""

# Argo compresses the status of a workflow above 1 MiB, which KFP does not read: from then on the tasks of the run stay as they are,
# though the run's own state is right. A server does not say so, and a long training looks the same.

from __future__ import annotations

import time

_IDLE_SECONDS = 180.0
"""Time without news after which something is wrong if no pod runs. KFP starts the next pod within half a minute."""
_BUSY_SECONDS = 1800.0
"""Time without news after which it is worth a remark although a pod runs."""


class Silence:
    """Time since a server last reported something new. Its message is returned once."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._said = False

    def message(self, *, changed: bool, pod_runs: bool) -> str:
        """Return what to tell the user after a request; empty if there is nothing to tell."""
        if changed:
            self._since = time.monotonic()
        seconds = time.monotonic() - self._since
        if self._said or seconds < (_BUSY_SECONDS if pod_runs else _IDLE_SECONDS):
            return ""
        self._said = True
        minutes = f"{seconds / 60:.0f} minutes"
        if pod_runs:
            return (
                f"The server has reported no change of any step for {minutes}. A long training looks like that; so does a run whose status "
                "exceeds 1 MiB, whose steps KFP no longer reports. The run's own state is still followed."
            )
        return (
            f"The server has stopped reporting steps: no change for {minutes}, although no pod of the run is pending or running. KFP does "
            "so above 1 MiB of workflow status (docs/submitting.md). The run's own state is still followed."
        )
