"""Report once that MLflow does not respond, and once that it does again."""

from __future__ import annotations

import logging
import threading
import time

from vicur.redaction import redacted

log = logging.getLogger(__name__)


class Outage:
    """The state of the connection to MLflow, as far as it has been reported.

    Args:
        uri: MLflow's address without secrets.
    """

    def __init__(self, uri: str | None) -> None:
        self._uri = uri
        self._since: float | None = None
        self._lock = threading.Lock()

    def begins(self, error: Exception) -> None:
        """Report that a request failed because MLflow does not respond."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        reason = redacted(str(error)).splitlines()[0]
        log.warning(
            "MLflow at %s is unavailable (%s). The stage continues. Its metrics are sent later; parameters and files may be missing.",
            self._uri,
            reason,
        )

    def ends(self) -> None:
        """Report that a request has succeeded."""
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.info("MLflow at %s responds again after %.0f s.", self._uri, time.monotonic() - since)
