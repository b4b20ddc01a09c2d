"""The connection to the cluster's API: opened by the first caller that needs it, then shared.

Functions that take a :class:`ClusterConnection` raise :class:`NoClusterError` if no cluster is configured or none responds.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

import yaml

from vicur.errors import VicurError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

TIMEOUT = (5, 15)
"""Seconds to connect, and to wait for a response."""


class NoClusterError(VicurError):
    """No cluster is configured, or none responds."""


class ClusterConnection:
    """Client of the cluster that this process runs in, or else of a context of the kubeconfig.

    Args:
        context: name of the context; empty for the current one.
    """

    def __init__(self, context: str = "") -> None:
        self._context = context
        self._lock = Lock()
        self._api: ApiClient | None = None
        self._error: NoClusterError | None = None

    def api(self) -> ApiClient:
        """Return the client."""
        with self._lock:
            if self._api is None and self._error is None:
                try:
                    self._api = _client(self._context)
                except NoClusterError as error:
                    self._error = error
            # The error is kept as well: a second attempt would only take time and fail again.
            if self._api is None:
                raise self._error or AssertionError
            return self._api

    def call(self, method: Any, *arguments: Any, **named: Any) -> Any:
        """Call a method of one of the client's API classes, with a time limit. Rejected requests raise an ``ApiException``."""
        import urllib3
        from kubernetes.client import ApiException

        try:
            response = method(*arguments, _request_timeout=TIMEOUT, **named)
            if response is None:
                raise TypeError("empty response")
            return response
        except ApiException as error:
            if error.status:
                raise
            # The client reports a failed TLS handshake as an ApiException without a status.
            lines = str(error.reason).partition("\n")
            raise NoClusterError(
                f"no trusted connection to the cluster is possible ({lines[2] or lines[0]}).",
                where=self._host(),
                remedy="Correct the certificates in the kubeconfig (certificate-authority, client-certificate).",
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            cause = str(getattr(error, "reason", None) or error).partition("): ")
            raise NoClusterError(
                f"the cluster does not respond ({cause[2] or cause[0]}).",
                where=self._host(),
                remedy="Run 'kubectl cluster-info' to check the cluster that the kubeconfig's current context names.",
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            # What the generated client raises if it cannot parse a response.
            raise NoClusterError(
                "the response does not come from a Kubernetes API.",
                where=self._host(),
                remedy="Run 'kubectl cluster-info': a proxy or a login page may intercept the request.",
            ) from error

    def _host(self) -> str:
        return str(self.api().configuration.host)


def _client(context: str) -> ApiClient:
    try:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration
    except ImportError as error:
        raise NoClusterError("the package kubernetes is not installed.", remedy="Install 'vicur[pipeline]'.") from error
    settings = Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not context:
            config.load_incluster_config(client_configuration=settings)
        else:
            # Passed explicitly: the client reads KUBECONFIG only once, when it is imported.
            config.load_kube_config(
                os.environ.get("KUBECONFIG") or None, context=context or None, client_configuration=settings
            )
    # ValueError and the following are what the client raises for a file that is not a kubeconfig.
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        raise NoClusterError(
            f"no cluster is configured ({first}).",
            remedy="Request a kubeconfig from the cluster's administrator, save it as ~/.kube/config or set KUBECONFIG to its path, "
            "and try 'kubectl get pods'.",
        ) from error
    # A check reports a failure once. The client's retries would hide it for minutes.
    settings.retries = False
    return ApiClient(settings)
