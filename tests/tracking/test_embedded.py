"""Creating the embedded store: interrupted at any time, by several processes at once, and what became of half-made ones."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.forking import forking
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import experiment_id

_LONG_AGO = time.time() - 3600


def _sql(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)
    os.utime(file, (_LONG_AGO, _LONG_AGO))


def _aside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".incomplete-" in path.name)


def _connect(config: TrackingConfig) -> None:
    experiment_id(connect(config), config)


def test_store_works_after_a_kill_while_it_was_created(project: Path) -> None:
    context = forking("mlflow.store.tracking.sqlalchemy_store", "alembic.command", "vicur.tracking.runs")
    process = context.Process(target=_connect, args=(TrackingConfig(),))
    process.start()
    # Interrupted in the midst of MLflow's tables.
    while not any(path.stat().st_size > 100_000 for path in project.glob("mlflow/.*.partial")):
        assert process.is_alive(), "the store was not created next to its final path"
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (project / "mlflow/mlflow.db").exists()
    # Two first commands at once.
    both = [context.Process(target=_connect, args=(TrackingConfig(),)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert [each.exitcode for each in both] == [0, 0]
    assert sorted(path.name for path in (project / "mlflow").iterdir()) == ["mlflow.db", "mlflow.lock"]


def test_empty_file_becomes_a_store(project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _copied_instead_of_created(monkeypatch, empty_store)
    (project / "mlflow.db").touch()
    config = TrackingConfig(uri="sqlite:///mlflow.db")
    assert experiment_id(connect(config), config)
    assert _aside(project) == []


@pytest.mark.parametrize(
    "state",
    [
        "CREATE TABLE _alembic_tmp_trace_tags (key TEXT)",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
        "UPDATE alembic_version SET version_num = '4465047574b1'",
        "DROP TABLE registered_models",
    ],
)
def test_half_made_store_is_moved_aside_and_created_anew(
    embedded: TrackingConfig,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    state: str,
) -> None:
    _copied_instead_of_created(monkeypatch, empty_store)
    _sql(Path("mlflow/mlflow.db"), "DELETE FROM experiments", state)
    # SQLite applies a journal to the file next to it, so that it must not stay with the new one.
    Path("mlflow/mlflow.db-wal").touch()
    with caplog.at_level(logging.WARNING, "vicur"):
        assert experiment_id(connect(embedded), embedded)
    (moved,) = [name for name in _aside(Path("mlflow")) if not name.endswith("-wal")]
    assert f"mlflow/{moved}" in caplog.text
    assert not Path("mlflow/mlflow.db-wal").exists()


def test_half_made_store_with_runs_is_reported_and_not_changed(embedded: TrackingConfig) -> None:
    client = connect(embedded)
    client.create_run(experiment_id(client, embedded))
    file = Path("mlflow/mlflow.db")
    _sql(file, "CREATE TABLE _alembic_tmp_trace_tags (key TEXT)")
    before = file.read_bytes()
    with pytest.raises(VicurError, match=r"upgrade.*interrupted.*(?s:.*)backup"):
        connect(embedded)
    assert file.read_bytes() == before


def test_another_applications_database_is_reported_and_not_changed(project: Path) -> None:
    file = project / "notes.db"
    _sql(file, "CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('milk')")
    before = file.read_bytes()
    with pytest.raises(VicurError, match=r"not a store of MLflow"):
        connect(TrackingConfig(uri="sqlite:///notes.db"))
    assert file.read_bytes() == before


def test_half_made_store_that_another_process_is_creating_is_awaited(
    embedded: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("mlflow/mlflow.db")
    _sql(file, "CREATE TABLE _alembic_tmp_trace_tags (key TEXT)")
    os.utime(file)
    # For example `mlflow server`, started at the same time.
    monkeypatch.setattr("time.sleep", lambda _: _sql(file, "DROP TABLE IF EXISTS _alembic_tmp_trace_tags"))
    connect(embedded)
    assert _aside(Path("mlflow")) == []


def _copied_instead_of_created(monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> None:
    # MLflow takes seconds to create its tables. The test of the interruption does not replace this.
    content = (empty_store / "mlflow.db").read_bytes()
    monkeypatch.setattr("vicur.tracking.embedded.create_tables", lambda file: file.write_bytes(content))
