"""Tells a webhook how a run ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from queue import Empty, Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from vicur.errors import VicurError

ADDRESS = "VICUR_WEBHOOK_URL"
"""Environment variable with the webhook's address, which comes from a secret: such addresses hold tokens, and none is ever shown."""
_SECONDS = 10
"""How long the whole call may take."""


def call_webhook(event: Mapping[str, Any]) -> bool:
    """Posts ``event`` as JSON.

    Returns:
        Whether there is a webhook to call.

    Raises:
        VicurError: where it does not take the event.
    """
    # Files that secrets are made from end in a line break.
    address = os.environ.get(ADDRESS, "").strip()
    if not address:
        return False
    if not _is_web_address(address):
        raise VicurError(f"{ADDRESS} is no web address.", remedy="Write https://host/path into the webhook's secret.")
    answers: Queue[str | None] = Queue()
    # What answers a byte now and then would hold a request's own limit of time for ever. A daemon, which the process ends without.
    Thread(target=lambda: answers.put(_post(address, event)), daemon=True).start()
    try:
        trouble = answers.get(timeout=_SECONDS)
    except Empty:
        trouble = f"no answer in {_SECONDS} s"
    if trouble is not None:
        raise VicurError(f"the webhook did not take the outcome ({trouble}).", remedy=f"Check {ADDRESS}.")
    return True


def _is_web_address(address: str) -> bool:
    try:
        return urlsplit(address).scheme in ("http", "https")
    except ValueError:
        return False


def _post(address: str, event: Mapping[str, Any]) -> str | None:
    """Posts an event; why it was not taken, or ``None``. The address is in no answer: an error's own text would hold it."""
    import requests

    try:
        # Who follows a redirect asks for a page and posts nothing.
        answer = requests.post(address, json=dict(event), timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return type(error).__name__
    return None if answer.status_code < requests.codes.multiple_choices else f"HTTP {answer.status_code}"
