"""Requests to a Kubeflow Model Registry through its Python client, with its errors as ``VicurError``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vicur.config.registry import TOKEN_PATH
from vicur.errors import VicurError
from vicur.redaction import redacted

if TYPE_CHECKING:
    from model_registry.core import ModelRegistryAPIClient

T = TypeVar("T")

_SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 (its path)
_SECONDS = 120.0


def check_reachable(url: str) -> None:
    """Request the registry's first model.

    Raises:
        VicurError: if it cannot be reached or refuses the request.
    """
    require_client(url)
    from model_registry.types import ListOptions

    run_requests(url, lambda api: api.get_registered_models(ListOptions(limit=1)))


def require_client(url: str) -> None:
    if find_spec("model_registry") is None:
        raise VicurError(
            "the client of the Kubeflow Model Registry is not installed.",
            where=f"registry.kubeflow.url, {url}",
            remedy="Install it: pip install 'vicur[pipeline]'.",
        )


def _connect(url: str) -> ModelRegistryAPIClient:
    from model_registry.core import ModelRegistryAPIClient

    path = os.environ.get(TOKEN_PATH, _SERVICE_ACCOUNT_TOKEN)
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        if TOKEN_PATH in os.environ:
            raise VicurError(
                f"cannot be read ({error.strerror}).", where=f"{TOKEN_PATH}, {path}", remedy="Name a file with a token."
            ) from error
        token = ""
    if url.startswith("http://"):
        return ModelRegistryAPIClient.insecure_connection(url, 80, token or None)
    if not token:
        raise VicurError(
            "needs a token.", where=f"registry.kubeflow.url, {url}", remedy=f"Name a file with a token in {TOKEN_PATH}."
        )
    return ModelRegistryAPIClient.secure_connection(url, 443, user_token=token)


def run_requests(url: str, action: Callable[[ModelRegistryAPIClient], Awaitable[T]]) -> T:
    """Run requests to the registry at an address.

    Raises:
        VicurError: if the registry cannot be reached, refuses a request, or is none.
    """
    from aiohttp import ClientError
    from mr_openapi.exceptions import ApiException, OpenApiException
    from pydantic import ValidationError

    where = f"registry.kubeflow.url, {url}"

    async def limited() -> T:
        async with asyncio.timeout(_SECONDS):
            return await action(_connect(url))

    try:
        return asyncio.run(limited())
    except (ClientError, TimeoutError, OSError) as error:
        raise VicurError(
            f"the Kubeflow Model Registry does not respond ({redacted(str(error)) or 'no response in time'}).",
            where=where,
            remedy="Correct the address, or let the pods reach it (network policy vicur-steps-to-model-registry). MLflow has the version "
            "and its aliases: run vicur registry sync, or repeat the step, to list them. Do not repeat a rollback.",
            retryable=True,
        ) from error
    except ApiException as error:
        raise _refused(int(error.status or 0), str(error.body or error.reason or ""), where) from error
    except (OpenApiException, ValidationError, AssertionError, ValueError) as error:
        raise VicurError(
            f"the response is not that of a Kubeflow Model Registry ({redacted(str(error)).splitlines()[0]}).",
            where=where,
            remedy="Check the address: it is that of the REST API, without a path.",
        ) from error


def _refused(status: int, body: str, where: str) -> VicurError:
    detail = redacted(body).strip()[:200]
    if status in (401, 403):
        return VicurError(
            f"the Kubeflow Model Registry refused the token (HTTP {status}).",
            where=where,
            remedy=f"Let the service account use the registry, or name a file with another token in {TOKEN_PATH}.",
        )
    if status == 404:
        return VicurError(
            "there is no Kubeflow Model Registry with the API v1alpha3 at this address (HTTP 404).",
            where=where,
            remedy="Correct the address, without a path, or update the registry.",
        )
    return VicurError(
        f"the Kubeflow Model Registry refused a request (HTTP {status}): {detail}",
        where=where,
        remedy="Run vicur registry sync, or repeat the step. If it fails again, read the registry's log.",
        # A conflict is another process that lists the same version.
        retryable=status == 409 or status >= 500,
    )
