"""Report the outcome of a run to a webhook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from queue import Empty, Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from vicur.errors import VicurError

ADDRESS = "VICUR_WEBHOOK_URL"
"""Environment variable with the webhook's address. It comes from a secret and is never shown, because it may contain a token."""
_SECONDS = 10


def call_webhook(event: Mapping[str, Any]) -> bool:
    """Post ``event`` as JSON. Return false if no webhook is configured.

    Raises:
        VicurError: if the webhook does not accept the event.
    """
    # Secrets that are made from files end with a line break.
    address = os.environ.get(ADDRESS, "").strip()
    if not address:
        return False
    if not _is_web_address(address):
        raise VicurError(
            f"{ADDRESS} is not a web address.", remedy="Set it to https://host/path in the secret of the webhook."
        )
    answers: Queue[str | None] = Queue()
    # The timeout of a request restarts with each byte received, so a slow server could hold it forever. A daemon thread does not keep the
    # process alive.
    Thread(target=lambda: answers.put(_post(address, event)), daemon=True).start()
    try:
        problem = answers.get(timeout=_SECONDS)
    except Empty:
        problem = f"no answer in {_SECONDS} s"
    if problem is not None:
        raise VicurError(f"the webhook did not accept the outcome: {problem}.", remedy=f"Check {ADDRESS}.")
    return True


def _is_web_address(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:
        return False


def _post(address: str, event: Mapping[str, Any]) -> str | None:
    """Post an event. Return the reason why it was not accepted, or ``None``."""
    import requests

    try:
        # Following a redirect would send a GET request without the event.
        answer = requests.post(address, json=dict(event), timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        # Its message may contain the address.
        return type(error).__name__
    return None if answer.status_code < requests.codes.multiple_choices else f"HTTP {answer.status_code}"
