"""The server that provides cues, an OpenAI-compatible API: ``GET /v1/models`` lists the models that it serves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_only_in_cluster
from vicur.cluster.preflight.registry import check
from vicur.cues.cue_model import endpoint_key

_SECONDS = 15


@check("cue endpoint", topic="services", when=lambda target: target.needs.cue_endpoint is not None)
def _cue_endpoint(target: Target) -> Finding:
    needs, address = target.needs, target.needs.cue_endpoint or ""
    return unless_only_in_cluster(
        target, address, lambda: cue_endpoint(address, needs.cue_model, needs.cue_key_variable)
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # Following a redirect would send the key to another server.
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def cue_endpoint(address: str, model: str | None, key_variable: str) -> Finding:
    """Check that the server responds, accepts the key in ``key_variable`` and serves the model (``None`` accepts any)."""
    if not address.startswith(("http://", "https://")):
        return Finding("failed", f"{address} is not an HTTP address", "Write it as http://host:8000/v1.")
    key = endpoint_key(key_variable)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        request = urllib.request.Request(f"{address.rstrip('/')}/models", headers=headers)  # noqa: S310 (checked above)
        with _OPENER.open(request, timeout=_SECONDS) as response:
            served = [str(each["id"]) for each in json.load(response)["data"]]
    except urllib.error.HTTPError as error:
        return _http_error(address, error.code, key_variable)
    except (OSError, HTTPException) as error:
        return Finding(
            "failed",
            f"{address} does not respond ({getattr(error, 'reason', error)})",
            "Start the server, correct the address, or allow the pods to reach it (network policy).",
        )
    except (ValueError, KeyError, TypeError):
        return Finding(
            "failed",
            f"the response of {address} is not that of an OpenAI-compatible API",
            "The address must end in /v1.",
        )
    if model is not None and model not in served:
        return Finding(
            "failed",
            f"{address} does not serve {model}, but {', '.join(served) or 'no model'}",
            "Correct the model's name, or start the server with --served-model-name.",
        )
    return Finding("ok", f"{address} serves {model or ', '.join(served)}")


def _http_error(address: str, status: int, key_variable: str) -> Finding:
    if status in (401, 403):
        return Finding(
            "failed",
            f"{address} rejected the key (HTTP {status})",
            f"Set {key_variable} to the server's key (in a cluster, in the secret vicur-cue).",
        )
    if 300 <= status < 400:
        return Finding("failed", f"{address} redirects to another address (HTTP {status})", "Use that address instead.")
    if status == 404:
        return Finding("failed", f"{address} has no /models (HTTP 404)", "The address must end in /v1.")
    return Finding(
        "failed", f"{address} responded with HTTP {status}", "Read the server's log: it may still be loading the model."
    )
