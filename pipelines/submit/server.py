"""Connection to a Kubeflow Pipelines server through its generated client, with errors that say what to do."""

# Not through the client of the KFP SDK: it retries an unreachable server for 25 seconds and prints a traceback each time, prints links,
# stores a namespace in the user's home, and sets no timeouts.

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vicur.errors import VicurError
from vicur.redaction import redacted, sendable

if TYPE_CHECKING:
    from kfp_server_api import ApiClient, ApiException

T = TypeVar("T")

REQUEST_SECONDS = 30
UPLOAD_SECONDS = 300
STANDALONE = "kubeflow"  # where KFP's manifests install a single-user server, and where it runs its pods
# A PodDefault of a multi-user Kubeflow mounts the token there.
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (a path, not a token)
_NO_ENDPOINT = (
    "Give --endpoint or set KFP_ENDPOINT. Without an ingress: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80, "
    "then --endpoint http://localhost:8080."
)


@dataclass(frozen=True, eq=False)
class Server:
    """A server that answers."""

    endpoint: str  # without a trailing slash
    namespace: str | None  # None on a single-user server
    api: ApiClient
    pods_in: str = STANDALONE  # namespace of the runs' pods

    def run_url(self, run_id: str) -> str:
        return self.page(f"runs/details/{run_id}")

    def page(self, path: str) -> str:
        """Return the address of a page of the UI."""
        return f"{redacted(self.endpoint)}/#/{path}"

    def call(self, method: Callable[..., T], *arguments: Any, seconds: int = REQUEST_SECONDS, **named: Any) -> T:
        """Call a method of a generated API.

        Raises:
            VicurError: if the server does not answer (``retryable``), refuses, or does not answer like Kubeflow Pipelines.
        """
        with answering(self.endpoint):
            answer = method(*arguments, _request_timeout=seconds, **named)
            if answer is None:
                raise TypeError("the answer is empty")
            return answer

    def known(self, identifier: str | None) -> str:
        """Return an id from an answer, or raise :class:`VicurError` if there is none."""
        # Other servers may answer with JSON, too, but without an id.
        if not identifier:
            raise _garbled(self.endpoint)
        return str(identifier)


def connect(endpoint: str | None, namespace: str | None, token: str | None, ca_cert: str | None = None) -> Server:
    """Connect to the server at ``endpoint``. Its default scheme is ``https``; ``ca_cert`` is a file.

    Raises:
        VicurError: if the endpoint is empty or does not answer like Kubeflow Pipelines.
    """
    import kfp_server_api

    if not endpoint:
        raise VicurError("no Kubeflow Pipelines server is configured.", remedy=_NO_ENDPOINT)
    address = (endpoint if "://" in endpoint else f"https://{endpoint}").rstrip("/")
    settings = kfp_server_api.Configuration(host=address)
    settings.ssl_ca_cert = ca_cert
    token = (token or _pod_token() or "").strip()
    if token:
        _require_sendable(token)
        settings.api_key, settings.api_key_prefix = {"authorization": token}, {"authorization": "Bearer"}
    server = Server(address, namespace, kfp_server_api.ApiClient(settings))
    health = server.call(kfp_server_api.HealthzServiceApi(server.api).healthz_service_get_healthz)
    if "json" not in (server.api.last_response.getheader("content-type") or ""):
        raise _garbled(address)
    if health.multi_user and not namespace:
        raise VicurError(
            "the server is a multi-user server, but no namespace is given.",
            where=redacted(address),
            remedy="Give --namespace or set KFP_NAMESPACE to the name of your profile.",
        )
    return Server(address, namespace if health.multi_user else None, server.api, namespace or STANDALONE)


def _garbled(endpoint: str) -> VicurError:
    return VicurError(
        "the server answers, but not like Kubeflow Pipelines.",
        where=redacted(endpoint),
        remedy="If it shows a login page, give --token or set KFP_EXISTING_TOKEN. Behind Kubeflow's dashboard the address ends in "
        "/pipeline.",
    )


def _require_sendable(token: str) -> None:
    if not sendable(token):
        raise VicurError(
            "the token contains blanks, line breaks or other characters that are not valid in a token.",
            where="--token",
            remedy="Copy it again: kubectl create token prints it on one line.",
        )


def _pod_token() -> str | None:
    # It expires, so it must be read at each start.
    try:
        return Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", TOKEN_FILE)).read_text(encoding="utf-8").strip()
    except OSError:
        return None


@contextmanager
def answering(endpoint: str) -> Iterator[None]:
    """Convert errors of the client.

    Raises:
        VicurError: instead of the client's errors; ``retryable`` if the server or the network has a problem.
    """
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise _refused(error, redacted(endpoint)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        cause = getattr(error, "reason", None) or error
        raise VicurError(
            f"Kubeflow Pipelines does not answer ({_first_line(_without_object(str(cause)))}).",
            where=redacted(endpoint),
            remedy="Check --endpoint and the network: a port-forward may have ended. For a private authority, give its certificates with "
            "--ca-cert.",
            retryable=True,
        ) from error
    except kfp_server_api.OpenApiException:
        # A wrong call of the client is a bug here, not an answer of the server.
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _garbled(endpoint) from error


def _refused(error: ApiException, where: str) -> VicurError:
    message, status = _message(error), error.status or 0
    match status:
        case 401:
            problem, remedy = (
                "the server requires a valid token",
                "Give a new token with --token or KFP_EXISTING_TOKEN.",
            )
        case 403:
            problem, remedy = (
                "your account is not allowed to do this",
                "Check --namespace, and that your account may create runs in it (role kubeflow-edit).",
            )
        case 404:
            problem, remedy = (
                "not found on the server",
                "Check the id and --namespace. If nothing is found at all, check the address: behind Kubeflow's dashboard it ends in "
                "/pipeline.",
            )
        case _ if status == 429 or status >= 500:
            problem, remedy = ("the server has a problem", "Try again. If it persists, read the log of ml-pipeline.")
        case _:
            problem, remedy = ("the server refused the request", "Correct the request as the server's message says.")
    return VicurError(
        f"{problem} ({status}: {message.rstrip('.')}).",
        where=where,
        remedy=remedy,
        retryable=status == 429 or status >= 500,
    )


def _message(error: ApiException) -> str:
    """Return the message of an error. Different parts of the server use three different formats."""
    body = error.body or ""
    try:
        values = json.loads(body)
    except ValueError:
        values = None
    if isinstance(values, dict):
        body = values.get("message") or values.get("error_message") or values.get("error") or body
    return _first_line(redacted(str(body))) or str(error.reason)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:500]


def _without_object(text: str) -> str:
    # urllib3 puts the connection before the cause: "HTTPConnection(host='x', port=1): Failed to ...".
    return text.partition("): ")[2] or text
