"""The embedded store: an SQLite file in which MLflow creates its tables at the first use.

MLflow creates them in dozens of migrations that SQLite commits one by one. An interruption leaves a file that MLflow can neither use nor
complete, so the tables are created in a file next to the store, which is renamed once it is complete.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from vicur.errors import VicurError
from vicur.storage.folders import new_file

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

log = logging.getLogger(__name__)

_BUSY_SECONDS = 20.0
# A half-made store that has not changed for this long is no longer being created.
_SETTLED_SECONDS = 3.0
_WAIT_SECONDS = 60.0
# Files that SQLite keeps next to a database.
_COMPANIONS = ("", "-journal", "-wal", "-shm")
_TEMPORARY = "_alembic_tmp_"
_VERSION = "alembic_version"
# Tables with rows that MLflow creates itself: their number in an unused store.
_OWN_ROWS = {_VERSION: 1, "experiments": 1, "workspaces": 1}


def prepare_store(file: Path, uri: str) -> None:
    """Create the store if it does not exist. The caller holds the store's creation lock.

    A half-made one, which an interrupted command left, is moved aside first, unless it contains anything of the user.

    Raises:
        VicurError: if the file cannot be opened, is not a store of MLflow, or was damaged by an interrupted upgrade.
    """
    if _is_empty(file):
        _create(file, uri)
        return
    state = _settled(file, uri)
    if state.foreign:
        raise VicurError(
            "this SQLite file is not a store of MLflow, but contains other tables.",
            where=uri,
            remedy="Choose another path (tracking.uri).",
        )
    if state.complete:
        return
    if state.used:
        raise VicurError(
            "an upgrade of this MLflow store was interrupted, and it contains runs or models.",
            where=uri,
            remedy="Restore the file from your backup and run `mlflow db upgrade` on it again, or move it to another folder.",
        )
    aside = _move_aside(file)
    log.warning(
        "%s: an interrupted command left an incomplete MLflow store without any runs. It is now %s, and a new one is created.",
        file,
        aside,
    )
    _create(file, uri)


@dataclass(frozen=True)
class _State:
    complete: bool  # or of another release, which MLflow reports
    used: bool  # contains rows other than MLflow's own
    foreign: bool = False


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:
        return True
    except OSError:
        # Opening it reports the reason.
        return False


def _settled(file: Path, uri: str) -> _State:
    """Return the state of a store, once no other program is creating it."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        state = _state(file, uri)
        idle = time.time() - file.stat().st_mtime
        if state.complete or state.foreign or not 0 <= idle < _SETTLED_SECONDS or time.monotonic() > deadline:
            return state
        time.sleep(0.2)


def _state(file: Path, uri: str) -> _State:
    # MLflow itself retries for minutes before it reports a file that it cannot open.
    try:
        with closing(sqlite3.connect(file, timeout=_BUSY_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            state = _inspected(database)
            database.rollback()
            return state
    except sqlite3.Error as error:
        raise _unusable(str(error), uri) from error


def _inspected(database: sqlite3.Connection) -> _State:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    tables = {str(name) for (name,) in database.execute(query)}
    if tables and not tables & _expected_tables():
        return _State(complete=False, used=True, foreign=True)
    counts = {table: _rows(database, table) for table in tables}
    used = any(count > _OWN_ROWS.get(table, 0) for table, count in counts.items())
    if any(table.startswith(_TEMPORARY) for table in tables) or not counts.get(_VERSION):
        return _State(complete=False, used=used)
    (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    complete = tables >= _expected_tables() if version == _newest_version() else used or not _is_known(version)
    return _State(complete=complete, used=used)


def _rows(database: sqlite3.Connection, table: str) -> int:
    # At most two are of interest, and a table may have millions.
    quoted = table.replace('"', '""')
    query = f'SELECT count(*) FROM (SELECT 1 FROM "{quoted}" LIMIT 2)'  # noqa: S608 (a name from this database, quoted)
    (count,) = database.execute(query).fetchone()
    return int(count)


def _expected_tables() -> set[str]:
    import mlflow.store.db.utils  # noqa: F401 (declares all tables)
    from mlflow.store.db.base_sql_model import Base

    return set(Base.metadata.tables)


def _newest_version() -> str | None:
    return _migrations().get_current_head()


def _is_known(version: str) -> bool:
    from alembic.util import CommandError

    try:
        return _migrations().get_revision(version) is not None
    except CommandError:
        return False


@cache
def _migrations() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(files("mlflow") / "store" / "db_migrations"))


def _move_aside(file: Path) -> Path:
    aside = file.with_name(f"{file.name}.incomplete-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    for suffix in _COMPANIONS:
        part = file.with_name(file.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def _create(file: Path, uri: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with new_file(file) as partial:
            create_tables(partial)
    except (OSError, SQLAlchemyError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(getattr(error, "orig", None) or error)
        raise _unusable(reason or str(error), uri) from error


def create_tables(file: Path) -> None:
    """Create a database with all tables of the installed MLflow."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import URL

    engine = create_engine(URL.create("sqlite", database=str(file)))

    def write_fast(connection: sqlite3.Connection, _record: object) -> None:
        # A part of this file is useless: one flush at the end replaces several hundred, and no journal is left next to it.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")

    event.listen(engine, "connect", write_fast)
    try:
        _initialize_tables(engine)
    finally:
        # Closes the file. SQLite must not find it renamed while it is open.
        engine.dispose()
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _unusable(reason: str, uri: str) -> VicurError:
    return VicurError(
        f"the embedded MLflow store cannot be opened ({reason}).",
        where=uri,
        remedy="Check the file's permissions and the disk's free space, or choose another path (tracking.uri).",
    )
