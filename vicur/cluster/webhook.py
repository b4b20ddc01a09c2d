"""Tells a webhook how a run ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vicur.errors import VicurError

ADDRESS = "VICUR_WEBHOOK_URL"
"""Environment variable with the webhook's address, which comes from a secret: such addresses hold tokens, and none is ever shown."""
_SECONDS = 10


def call_webhook(event: Mapping[str, Any]) -> bool:
    """Posts ``event`` as JSON.

    Returns:
        Whether there is a webhook to call.

    Raises:
        VicurError: where it does not take the event.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return False
    if urlsplit(address).scheme not in ("http", "https"):
        raise VicurError(f"{ADDRESS} is no web address.", remedy="Write https://host/path into the webhook's secret.")
    import requests

    try:
        requests.post(address, json=dict(event), timeout=_SECONDS).raise_for_status()
    except requests.RequestException as error:
        # The error's own text holds the address.
        reason = f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
        raise VicurError(f"the webhook did not take the outcome ({reason}).", remedy=f"Check {ADDRESS}.") from None
    return True
