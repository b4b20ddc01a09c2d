"""A Kubeflow Pipelines server: reached by its generated client, its errors told so that a person can act on them.

The client that the KFP SDK puts on top of the generated one is left out on purpose: it retries a server that is not there for 25
seconds with a traceback a time, prints links, keeps a namespace in the user's home, and gives its requests no time limit.
"""

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
"""How long one request may take."""
UPLOAD_SECONDS = 300
"""How long uploading a package may take."""
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (where it lies, not what it is)
"""Where a pod in a multi-user Kubeflow finds the token that its PodDefault mounts, unless ``KF_PIPELINES_SA_TOKEN_PATH`` says otherwise."""
_NO_ENDPOINT = (
    "Give --endpoint or set KFP_ENDPOINT. Without an ingress: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80, "
    "then --endpoint http://localhost:8080."
)


@dataclass(frozen=True, eq=False)
class Server:
    """A server that is known to answer.

    Attributes:
        endpoint: its address, without a slash at the end.
        namespace: whose runs are meant; ``None`` on a server of a single user.
        api: the generated client.
    """

    endpoint: str
    namespace: str | None
    api: ApiClient

    def run_url(self, run_id: str) -> str:
        """The page of a run in the UI."""
        return f"{redacted(self.endpoint)}/#/runs/details/{run_id}"

    def call(self, method: Callable[..., T], *arguments: Any, seconds: int = REQUEST_SECONDS, **named: Any) -> T:
        """Calls a method of a generated API.

        Raises:
            VicurError: where the server does not answer (``retryable``), refuses, or is none of Kubeflow Pipelines.
        """
        with answering(self.endpoint):
            answer = method(*arguments, _request_timeout=seconds, **named)
            if answer is None:
                raise TypeError("nothing came back")
            return answer

    def known(self, identifier: str | None) -> str:
        """The id that an answer holds of what it is about. Something else that answers in JSON holds none.

        Raises:
            VicurError: where there is none.
        """
        if not identifier:
            raise _garbled(self.endpoint)
        return str(identifier)


def connect(endpoint: str | None, namespace: str | None, token: str | None, ca_cert: str | None = None) -> Server:
    """A client for the server at ``endpoint``.

    Args:
        endpoint: its address; ``https://`` is put before one that has no scheme.
        namespace: whose runs are meant; a server of several users wants one.
        token: bearer token; left out, that of the pod, where there is one.
        ca_cert: file with the certificates that sign the server's own, where they are not those of the public authorities.

    Raises:
        VicurError: where no endpoint is named, or it does not answer as Kubeflow Pipelines does.
    """
    import kfp_server_api

    if not endpoint:
        raise VicurError("no Kubeflow Pipelines server is named.", remedy=_NO_ENDPOINT)
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
            "the server has several users, and no namespace is named.",
            where=redacted(address),
            remedy="Give --namespace or set KFP_NAMESPACE: the name of your profile.",
        )
    return Server(address, namespace if health.multi_user else None, server.api)


def _garbled(endpoint: str) -> VicurError:
    return VicurError(
        "answers, but not as Kubeflow Pipelines does.",
        where=redacted(endpoint),
        remedy="A login page needs --token (or KFP_EXISTING_TOKEN); behind Kubeflow's dashboard the address ends in /pipeline.",
    )


def _require_sendable(token: str) -> None:
    if not sendable(token):
        raise VicurError(
            "the token holds blanks, line breaks or letters that no token has.",
            where="--token",
            remedy="Copy it again: kubectl create token prints it in one line.",
        )


def _pod_token() -> str | None:
    """The token that a pod is given for the server; it expires, and is read anew at each start."""
    try:
        return Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", TOKEN_FILE)).read_text(encoding="utf-8").strip()
    except OSError:
        return None


@contextmanager
def answering(endpoint: str) -> Iterator[None]:
    """Says plainly what the server would not do.

    Raises:
        VicurError: in place of the client's own errors; ``retryable`` where the server or the network is in trouble.
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
            remedy="Check --endpoint and the network (a port-forward may have ended); --ca-cert names the certificates of a private "
            "authority.",
            retryable=True,
        ) from error
    except kfp_server_api.OpenApiException:
        # A call that is wrong in itself, not an answer.
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _garbled(endpoint) from error


def _refused(error: ApiException, where: str) -> VicurError:
    message, status = _message(error), error.status or 0
    match status:
        case 401:
            problem, remedy = (
                "the server does not know you",
                "Give a fresh token: --token or KFP_EXISTING_TOKEN.",
            )
        case 403:
            problem, remedy = (
                "the server does not let you do that",
                "Check --namespace, and that your account may create runs in it (role kubeflow-edit).",
            )
        case 404:
            problem, remedy = (
                "the server does not have what was asked for",
                "Check the id and --namespace; where nothing is found at all, the address (behind Kubeflow's dashboard it ends in "
                "/pipeline).",
            )
        case _ if status == 429 or status >= 500:
            problem, remedy = ("the server is in trouble", "Try again; if it stays, read the log of ml-pipeline.")
        case _:
            problem, remedy = ("the server refuses the request", "Correct what it complains of.")
    return VicurError(
        f"{problem} ({status}: {message.rstrip('.')}).",
        where=where,
        remedy=remedy,
        retryable=status == 429 or status >= 500,
    )


def _message(error: ApiException) -> str:
    """What the server says, out of the three forms in which its parts say it."""
    body = error.body or ""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if isinstance(told, dict):
        body = told.get("message") or told.get("error_message") or told.get("error") or body
    return _first_line(redacted(str(body))) or str(error.reason)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:500]


def _without_object(text: str) -> str:
    """urllib3 puts its connection's name before the cause: ``HTTPConnection(host='x', port=1): Failed to ...``."""
    return text.partition("): ")[2] or text
