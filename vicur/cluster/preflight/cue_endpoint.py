"""The server that makes cues, as the OpenAI API describes it: ``GET /v1/models`` lists what it serves."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException

from vicur.cluster.preflight.finding import Finding

_SECONDS = 15


def cue_endpoint(address: str, model: str | None, key_variable: str) -> Finding:
    """Whether the server answers, takes our key and serves the model.

    Args:
        address: its address with its version, ``http://host:8000/v1``.
        model: what it must serve; any where left out.
        key_variable: variable of the environment that holds the key.
    """
    if not address.startswith(("http://", "https://")):
        return Finding("failed", f"{address} is no address", "Write http://host:8000/v1.")
    key = os.environ.get(key_variable)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{address.rstrip('/')}/models", headers=headers)  # noqa: S310 (checked above)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            served = [str(each["id"]) for each in json.load(answer)["data"]]
    except urllib.error.HTTPError as error:
        return _refused(address, error.code, key_variable)
    except (urllib.error.URLError, OSError, HTTPException) as error:
        return Finding(
            "failed",
            f"{address} does not answer ({getattr(error, 'reason', error)})",
            "Start the server, correct the address, or let the pods reach it (its network policy).",
        )
    except (ValueError, KeyError, TypeError):
        return Finding("failed", f"{address} does not answer as the OpenAI API does", "The address ends in /v1.")
    if model is not None and model not in served:
        return Finding(
            "failed",
            f"{address} does not serve {model}, but {', '.join(served) or 'nothing'}",
            "Correct the name, or start the server with --served-model-name.",
        )
    return Finding("ok", f"{address} serves {model or ', '.join(served)}")


def _refused(address: str, status: int, key_variable: str) -> Finding:
    if status in (401, 403):
        return Finding(
            "failed",
            f"{address} refuses the key ({status})",
            f"Set {key_variable} to its key (in a cluster: secret vicur-cue).",
        )
    if status == 404:
        return Finding("failed", f"{address} has no /models (404)", "The address ends in /v1.")
    return Finding(
        "failed", f"{address} answers with status {status}", "Read the server's log; it may still be loading."
    )
