"""Reaches MLflow: its address, a client that is known to work, the experiment, and runs found again by their tags.

The default is a store of the project's own (SQLite and a folder beside it); a server's address works the same way.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

EMBEDDED_URI = "sqlite:///mlflow/mlflow.db"
_SQLITE = "sqlite:///"
_BUSY_SECONDS = 20.0
# How MLflow behaves in our processes, unless the user chose otherwise: it reports to nobody and prints nothing by itself.
# Its seven retries would keep a step waiting for four minutes at a server that is gone.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_REMEDY = (
    "Start the server, correct the address, or name none (tracking.uri, MLFLOW_TRACKING_URI) to use the embedded store."
)


def tracking_uri(config: TrackingConfig) -> str:
    """The MLflow address in force: the configuration's, else the environment's, else the embedded store's.

    Where a platform hands a run to this process (``MLFLOW_RUN_ID``), the address that comes with it goes first.
    """
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    if environment and os.environ.get("MLFLOW_RUN_ID"):
        return environment
    return config.uri or environment or EMBEDDED_URI


def public_address(config: TrackingConfig) -> str:
    """The address as it may be shown and written: without user, password and tokens."""
    return redacted(_without_credentials(tracking_uri(config))[0])


def public_uri(client: MlflowClient) -> str:
    """The address of a client as it may be shown and written."""
    return redacted(client.tracking_uri)


def connect(config: TrackingConfig) -> MlflowClient:
    """A client for the tracking server and registry, once they are known to answer.

    Raises:
        VicurError: where the server does not answer, refuses us, or the embedded store cannot be opened.
    """
    uri, credentials = _without_credentials(tracking_uri(config))
    os.environ.update(credentials)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    file = database(uri)
    if file is not None:
        _require_sqlalchemy(uri)
        # MLflow keeps open stores by their address: a relative one would mean another file once the process moves.
        uri = f"{_SQLITE}{file.absolute()}"
    with answering(uri):
        from mlflow import MlflowClient

        with creation_lock(uri), _impatient():
            if file is not None:
                _open_database(file, uri)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # The first request: it creates an embedded store's tables, and meets a server's checks of host and user.
            client.search_experiments(max_results=1)
    return client


def database(uri: str) -> Path | None:
    """File of a SQLite store, or none for a server's address.

    Raises:
        VicurError: for an address of another kind, and for a store in memory.
    """
    if uri.startswith(("http://", "https://")):
        return None
    file = uri.removeprefix(_SQLITE).partition("?")[0]
    if not uri.startswith(_SQLITE) or file in ("", ":memory:"):
        raise _no_address(uri)
    return Path(file)


def _no_address(uri: str) -> VicurError:
    return VicurError(
        "is neither the address of an MLflow server nor a SQLite file.",
        where=redacted(uri),
        remedy=f"Give http://host:port, https://host or sqlite:///path/to/mlflow.db (by default {EMBEDDED_URI}).",
    )


def creation_lock(uri: str) -> AbstractContextManager[object]:
    """Holds back the other processes of this machine while something is looked up and created in an embedded store.

    Against a server this is no lock: there, two creators are told apart afterwards.
    """
    file = database(uri)
    if file is None:
        return nullcontext()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire()
    except OSError as error:
        raise VicurError(
            f"cannot be written ({error.strerror or error}).",
            where=uri,
            remedy="Choose a tracking URI that this user can write to.",
        ) from error
    return _held(lock)


@contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turns what MLflow raises into an error that says which server, why, and what to do.

    Raises:
        VicurError: in place of MLflow's own. Those that may pass (no answer, a busy store) are ``retryable``.
    """
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, MlflowException):
            raise
        raise _explained(error, uri) from error


def _cause(error: Exception) -> str:
    """What the operating system said, where that is at the bottom of it ("Connection refused"); else the error's own text."""
    found = re.search(r"\[Errno -?\d+\] ([^\"')\]]+)", str(error))
    return found[1] if found else str(error)


def _explained(error: Exception, uri: str) -> VicurError:
    reason = redacted(_cause(error)).strip().splitlines()[0]
    code = str(getattr(error, "error_code", ""))
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        problem, remedy = (
            "MLflow refuses the user",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        )
    elif code == "PERMISSION_DENIED":
        problem, remedy = (
            "MLflow refuses the request",
            "Ask for the permission, or have this host name added to the server's --allowed-hosts.",
        )
    elif code == "RESOURCE_DOES_NOT_EXIST":
        problem, remedy = "MLflow does not have what was asked for", "Check the name and that this is the right server."
    elif "out-of-date database schema" in reason:
        problem, remedy = (
            "is of another MLflow release",
            "Back it up and run `mlflow db upgrade` on it, or move it away.",
        )
    elif transient(error):
        problem, remedy = "MLflow does not answer", _REMEDY
    else:
        problem, remedy = "MLflow refuses the request", "Correct what it complains of."
    return VicurError(
        f"{problem} ({reason.rstrip('.')}).", where=redacted(uri), remedy=remedy, retryable=transient(error)
    )


def transient(error: Exception) -> bool:
    """Whether an MLflow exception tells of a server or network in trouble, not of a wrong request."""
    return str(getattr(error, "error_code", "")) in (
        "INTERNAL_ERROR",
        "TEMPORARILY_UNAVAILABLE",
        "REQUEST_LIMIT_EXCEEDED",
        "DEADLINE_EXCEEDED",
    )


def _require_sqlalchemy(uri: str) -> None:
    """MLflow's light client knows servers only, and says so in a way that helps nobody."""
    if find_spec("sqlalchemy") is None:
        raise VicurError(
            "an embedded MLflow store needs packages that are not installed (sqlalchemy).",
            where=uri,
            remedy="Install vicur[local], or set MLFLOW_TRACKING_URI to a server.",
        )


def _open_database(file: Path, uri: str) -> None:
    """Checks an embedded store: MLflow itself retries for minutes before it tells of a file that it cannot open."""
    try:
        connection = sqlite3.connect(file, timeout=_BUSY_SECONDS)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise VicurError(
            f"the embedded MLflow store cannot be opened ({error}).",
            where=uri,
            remedy="Check the file's permissions and the disk's space, or choose another tracking URI.",
        ) from error


def _without_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """A server's address without user and password, and these under the names of the variables that MLflow reads.

    Its client would put the whole address into logs and exceptions.

    Raises:
        VicurError: for what cannot be taken apart.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _no_address(uri) from error
    if parts.scheme not in ("http", "https") or parts.username is None:
        return uri, {}
    found = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    clean = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return clean, {name: unquote(value) for name, value in found.items() if value is not None}


def _impatient() -> AbstractContextManager[None]:
    """Lets MLflow's client give up after seconds: nothing is lost yet when a run cannot even begin."""
    return environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="1", MLFLOW_HTTP_REQUEST_TIMEOUT="20")


def as_default(client: MlflowClient) -> AbstractContextManager[None]:
    """Makes a client's address the one that MLflow takes where it has none: parts of its registry ask nobody else."""
    return environment(MLFLOW_TRACKING_URI=client.tracking_uri)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Sets variables of this process's environment for a while. MLflow reads its settings there, each time anew."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    """Id of the run's experiment (the platform's where it names one), which is created where it does not exist.

    Artifacts of an embedded store go to ``artifacts`` beside its database.

    Raises:
        VicurError: where the experiment has been deleted.
    """
    if injected := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return injected
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(config.experiment)
    if found is None:
        file = database(client.tracking_uri)
        location = None if file is None else (file.parent / "artifacts").absolute().as_uri()
        try:
            return str(client.create_experiment(config.experiment, artifact_location=location))
        except MlflowException as error:
            # Another process may have been quicker.
            found = client.get_experiment_by_name(config.experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
    if found.lifecycle_stage != "active":
        raise VicurError(
            f"experiment {config.experiment!r} has been deleted.",
            where=redacted(client.tracking_uri),
            remedy=f"Restore it (`mlflow experiments restore -x {found.experiment_id}`) or choose another name.",
        )
    return str(found.experiment_id)


def find_or_start(client: MlflowClient, experiment: str, keys: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Id of the experiment's run that carries the tags ``keys``, which is set running again, or else of a new one.

    Two creators at a server see each other's run afterwards: both keep the earlier, and the later one removes its own.
    """
    found = _runs_with(client, experiment, keys)
    if found:
        client.update_run(found[0], status="RUNNING")
        return found[0]
    mine = client.create_run(experiment, tags={**keys, **_author(), **tags}).info.run_id
    first = _runs_with(client, experiment, keys)[0]
    if first != mine:
        client.delete_run(mine)
    return first


def _runs_with(client: MlflowClient, experiment: str, keys: Mapping[str, str]) -> list[str]:
    where = " and ".join(f"tags.`{key}` = '{_plain(value)}'" for key, value in keys.items())
    runs = client.search_runs([experiment], filter_string=where, max_results=10, order_by=["attributes.start_time ASC"])
    return [run.info.run_id for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))]


def _plain(value: str) -> str:
    if "'" in value:
        raise ValueError(f"a quote in {value!r}: MLflow's search has no way to escape it")
    return value


def _author() -> dict[str, str]:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):
        # A container's user id may have no name.
        return {}
