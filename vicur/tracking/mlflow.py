"""Connect to MLflow: its address, a client that has been checked, and readable errors.

The default is an embedded store in the project's folder (SQLite and a folder of artifacts). A server's address works the same way.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.redaction import redacted
from vicur.tracking.embedded import prepare_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from requests import HTTPError

EMBEDDED_URI = "sqlite:///mlflow/mlflow.db"
_SQLITE = "sqlite:///"
# Defaults for MLflow in our processes: no telemetry and no messages. Its default of seven retries would block a step
# for four minutes if the server is down.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_UNAUTHENTICATED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
_REMEDY = "Start the server, correct its address (tracking.uri, MLFLOW_TRACKING_URI), or unset both to use the embedded store."


def tracking_uri(config: TrackingConfig) -> str:
    """Return MLflow's address: the configuration's, else ``MLFLOW_TRACKING_URI``, else the embedded store's."""
    # If the platform started a run for this process (MLFLOW_RUN_ID), that run exists only at the platform's address.
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    if environment and os.environ.get("MLFLOW_RUN_ID"):
        return environment
    return config.uri or environment or EMBEDDED_URI


def public_address(config: TrackingConfig) -> str:
    """Return MLflow's address for messages and records: without user, password and tokens."""
    return redacted(_without_credentials(tracking_uri(config))[0])


def public_uri(client: MlflowClient) -> str:
    """Return a client's address for messages and records, secrets masked."""
    return redacted(client.tracking_uri)


def connect(config: TrackingConfig) -> MlflowClient:
    """Return a client for the tracking server and the registry, after a first request has succeeded.

    Raises:
        VicurError: if the server does not respond, or the embedded store cannot be opened.
    """
    # MLflow reads credentials from the environment on each request.
    uri, credentials = _without_credentials(tracking_uri(config))
    os.environ.update(credentials)
    return connect_to(uri)


def connect_to(uri: str) -> MlflowClient:
    """Return a client for an address without credentials, as :func:`connect` does.

    Raises:
        VicurError: if the server does not respond, or the embedded store cannot be opened.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    file = sqlite_file(uri)
    if file is not None:
        _require_sqlalchemy(uri)
        # MLflow caches stores by their address. A relative one would be another file after a change of directory.
        uri = f"{_SQLITE}{file.absolute()}"
    with mlflow_errors(uri):
        from mlflow import MlflowClient

        with creation_lock(uri), _short_timeouts():
            if file is not None:
                prepare_store(file.absolute(), uri)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # A server checks host name and user.
            client.search_experiments(max_results=1)
    return client


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, or ``None`` for a server's address.

    Raises:
        VicurError: for any other address, including a store in memory.
    """
    if uri.startswith(("http://", "https://")):
        return None
    file = uri.removeprefix(_SQLITE).partition("?")[0]
    if not uri.startswith(_SQLITE) or file in ("", ":memory:"):
        raise _invalid_address(uri)
    return Path(file)


def _invalid_address(uri: str) -> VicurError:
    return VicurError(
        "this is neither the address of an MLflow server nor a SQLite file.",
        where=redacted(uri),
        remedy="Set tracking.uri or MLFLOW_TRACKING_URI to http://host:port, https://host or sqlite:///path/to/mlflow.db "
        f"(default: {EMBEDDED_URI}).",
    )


def creation_lock(uri: str) -> AbstractContextManager[object]:
    """Lock an embedded store against the other processes of this machine, to look up and create something in it.

    For a server this does nothing; ``runs.find_or_start`` resolves concurrent creation afterwards.
    """
    file = sqlite_file(uri)
    if file is None:
        return nullcontext()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise VicurError(
            f"the embedded MLflow store cannot be written ({error.strerror or error}).",
            where=uri,
            remedy="Set tracking.uri to a path that you can write to.",
        ) from error
    return _release_after(lock)


@contextmanager
def _release_after(lock: FileLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Convert MLflow's exceptions to a ``VicurError`` with the server's address, the reason and a remedy.

    Temporary failures (no response, a busy store) are ``retryable``.
    """
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from requests import HTTPError

        if isinstance(error, HTTPError):
            raise _refused_file(error, uri) from error
        if not isinstance(error, MlflowException):
            raise
        raise readable(error, uri) from error


def _cause(error: Exception) -> str:
    # The operating system's message ("Connection refused") is more useful than the chain of exceptions around it.
    match = re.search(r"\[Errno -?\d+\] ([^\"')\]]+)", str(error))
    return match[1] if match else str(error)


def readable(error: Exception, uri: str) -> VicurError:
    """Convert an MLflow exception to an error with the server's address, the reason and a remedy."""
    reason = redacted(_cause(error)).strip().splitlines()[0]
    code = str(getattr(error, "error_code", ""))
    if code in _UNAUTHENTICATED:
        problem, remedy = (
            "MLflow rejected the credentials",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        )
    elif code == "PERMISSION_DENIED":
        problem, remedy = (
            "MLflow denied the request",
            "Request the permission, or have this host name added to the server's --allowed-hosts.",
        )
    elif code == "RESOURCE_DOES_NOT_EXIST":
        problem, remedy = "MLflow does not have the requested object", "Check its name and the server's address."
    elif "out-of-date database schema" in reason:
        problem, remedy = (
            "this store was created by another release of MLflow",
            "Back it up and run `mlflow db upgrade` on it, or move it to another folder.",
        )
    elif is_transient(error):
        problem, remedy = "MLflow does not respond", _REMEDY
    else:
        problem, remedy = "MLflow rejected the request", "Correct the value that the message names."
    return VicurError(
        f"{problem} ({reason.rstrip('.')}).", where=redacted(uri), remedy=remedy, retryable=is_transient(error)
    )


def _refused_file(error: HTTPError, uri: str) -> VicurError:
    """Convert the refusal of an upload or download, which MLflow's client passes on as it is and does not repeat."""
    status = 0 if error.response is None else error.response.status_code
    remedies: dict[int, str] = {
        HTTPStatus.UNAUTHORIZED: "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        HTTPStatus.FORBIDDEN: "Request the permission to edit the experiment.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Raise the largest request that the proxy before MLflow accepts above the size of a file of "
        "weights (nginx: client_max_body_size).",
    }
    return VicurError(
        f"MLflow, or a proxy before it, refused a file with status {status}.",
        where=redacted(uri),
        remedy=remedies.get(status, "Read the server's log for the reason."),
        retryable=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def is_transient(error: Exception) -> bool:
    """Return whether an MLflow exception reports a server or network failure, not an invalid request."""
    return str(getattr(error, "error_code", "")) in (
        "INTERNAL_ERROR",
        "TEMPORARILY_UNAVAILABLE",
        "REQUEST_LIMIT_EXCEEDED",
        "DEADLINE_EXCEEDED",
    )


def is_refusal(error: Exception) -> bool:
    """Return whether an MLflow exception says that this account may not do this, or that the run is gone: retrying does not help."""
    return str(getattr(error, "error_code", "")) in (*_UNAUTHENTICATED, "PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST")


def _require_sqlalchemy(uri: str) -> None:
    # mlflow-skinny supports servers only, and its own error for a SQLite address names neither the package nor the remedy.
    if find_spec("sqlalchemy") is None:
        raise VicurError(
            "an embedded MLflow store needs packages that are not installed (sqlalchemy).",
            where=uri,
            remedy="Install vicur[local], or set MLFLOW_TRACKING_URI to a server's address.",
        )


def _without_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """Split a server's address into the address without user and password, and variables with these that MLflow reads."""
    # MLflow's client would write the whole address to logs and exceptions.
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _invalid_address(uri) from error
    if parts.scheme not in ("http", "https") or parts.username is None:
        return uri, {}
    credentials = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    clean = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return clean, {name: unquote(value) for name, value in credentials.items() if value is not None}


def _short_timeouts() -> AbstractContextManager[None]:
    # While connecting nothing can be lost yet, so a server that is down is reported within seconds.
    return environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="1", MLFLOW_HTTP_REQUEST_TIMEOUT="20")


def as_default(client: MlflowClient) -> AbstractContextManager[None]:
    """Make a client's address MLflow's default, for the parts of its registry that take no address."""
    return environment(MLFLOW_TRACKING_URI=client.tracking_uri)


_ENVIRONMENT = threading.RLock()


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Set environment variables for the duration of the context. MLflow reads its settings from there on each call.

    ``None`` removes a variable. Only one thread at a time is in such a context.
    """
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in values}
        try:
            _set(values)
            yield
        finally:
            _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
