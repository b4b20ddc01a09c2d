"""The way to the cluster's API: made once, by whichever check comes first, and shared."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

import yaml

from vicur.errors import VicurError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

TIMEOUT = (5, 15)
"""Seconds to connect, and to answer."""


class NoClusterError(VicurError):
    """There is no cluster to ask."""


class Link:
    """A client of the cluster that this process runs in, or that the kubeconfig's current context names."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._api: ApiClient | None = None
        self._reason: NoClusterError | None = None

    def api(self) -> ApiClient:
        """The client.

        Raises:
            NoClusterError: where neither a pod's account nor a kubeconfig says which cluster.
        """
        with self._lock:
            if self._api is None and self._reason is None:
                try:
                    self._api = _client()
                except NoClusterError as reason:
                    self._reason = reason
            if self._api is None:
                raise self._reason or AssertionError
            return self._api

    def ask(self, method: Any, *arguments: Any, **named: Any) -> Any:
        """Calls a method of a generated API, with a time limit.

        Raises:
            NoClusterError: where the cluster does not answer, or something else does.
            kubernetes.client.ApiException: where it refuses.
        """
        import urllib3
        from kubernetes.client import ApiException

        try:
            answer = method(*arguments, _request_timeout=TIMEOUT, **named)
            if answer is None:
                raise TypeError("nothing came back")
            return answer
        except ApiException as error:
            if error.status:
                raise
            # The client's way to say that no connection could be trusted.
            said = str(error.reason).partition("\n")
            raise NoClusterError(
                f"no connection that can be trusted ({said[2] or said[0]}).",
                where=str(self.api().configuration.host),
                remedy="Correct the certificates in the kubeconfig (certificate-authority, client-certificate).",
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            cause = str(getattr(error, "reason", None) or error).partition("): ")
            raise NoClusterError(
                f"the cluster does not answer ({cause[2] or cause[0]}).",
                where=str(self.api().configuration.host),
                remedy="Check 'kubectl cluster-info': the kubeconfig's current context names the cluster.",
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise NoClusterError(
                "answers, but not as Kubernetes does.",
                where=str(self.api().configuration.host),
                remedy="Check 'kubectl cluster-info': a proxy or a login page may stand in between.",
            ) from error


def _client() -> ApiClient:
    try:
        from kubernetes import config
        from kubernetes.client import ApiClient, Configuration
    except ImportError as error:
        raise NoClusterError("the package kubernetes is not installed.", remedy="Install 'vicur[pipeline]'.") from error
    settings = Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=settings)
        else:
            # The client itself reads the variable once, when it is imported.
            config.load_kube_config(os.environ.get("KUBECONFIG") or None, client_configuration=settings)
    # The latter are what a file that is no kubeconfig makes of the client.
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        raise NoClusterError(
            f"no cluster is named ({first}).",
            remedy="Ask its administrator for a kubeconfig, put it at ~/.kube/config or name it in KUBECONFIG, and try 'kubectl get pods'.",
        ) from error
    settings.retries = False
    return ApiClient(settings)
