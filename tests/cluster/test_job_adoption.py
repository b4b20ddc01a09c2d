"""A retry adopts or replaces the job of an earlier attempt, never touches other jobs, and cleans up after itself."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.cluster.api_server_double import ALWAYS, ApiServerDouble, Fault
from tests.cluster.launching import JOB, REQUEST, TIMING, Launch, api_of
from tests.cluster.plays import stop_step, train
from vicur.cluster.jobs.cleanup import delete_jobs
from vicur.cluster.jobs.launcher import run_job
from vicur.cluster.jobs.manifest import train_job
from vicur.cluster.jobs.monitor import Limits
from vicur.cluster.jobs.names import PART_OF, RUN, WORK
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

MANIFEST = train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"})


def test_retry_adopts_the_job_of_an_interrupted_attempt(launch: Launch) -> None:
    """The server became unavailable during the first attempt, which could not delete its job."""
    with ApiServerDouble().serving() as server:
        server.play = lambda server, job: (server.start(job), server.faults.append(Fault("", "", 503, ALWAYS)))
        with pytest.raises(VicurError, match="API has been unavailable") as caught:
            launch.run(server, timing=replace(TIMING, give_up=0.4, deletion=0.2))
        assert caught.value.exit_code == EXIT_CODE
        server.faults.clear()
        uid = server.jobs[JOB]["metadata"]["uid"]
        again = Launch()
        server.complete(JOB)
        assert again.run(server) == "student"
        assert [job["metadata"]["uid"] for job in server.created] == [uid]
        assert again.reported[0] == f"resuming the TrainJob {JOB} of an earlier attempt"
        server.until(lambda: server.jobs == {})


def test_adopted_job_gets_this_attempts_owner(launch: Launch) -> None:
    with ApiServerDouble(lambda *_: None).serving() as server:
        first = replace(REQUEST, owner={"apiVersion": "v1", "kind": "Pod", "name": "attempt-1", "uid": "uid-1"})
        api_of(server).create(train_job(first, ClusterConfig(nodes=2), {"runtimePatches"}))
        owners = []

        def collect() -> None:
            owners.extend(server.jobs[JOB]["metadata"]["ownerReferences"])

        server.complete(JOB)
        launch.run(server, collect)
    assert owners == [REQUEST.owner]


def test_failed_job_of_an_earlier_attempt_is_replaced(launch: Launch) -> None:
    with ApiServerDouble(lambda server, job: server.fail(job), deletion_seconds=0.3).serving() as server:
        api_of(server).create(MANIFEST)
        server.until(lambda: "status" in server.jobs[JOB])
        server.play = train
        assert launch.run(server) == "student"
        assert len(server.created) == 2


def test_waiting_for_an_earlier_jobs_deletion_has_a_limit(launch: Launch) -> None:
    """Its pods were on a node that is lost."""
    with ApiServerDouble(lambda server, job: server.fail(job), deletion_seconds=20).serving() as server:
        api_of(server).create(MANIFEST)
        server.until(lambda: "status" in server.jobs[JOB])
        with pytest.raises(VicurError, match="still being deleted") as caught:
            launch.run(server, timing=replace(TIMING, deletion=0.3), limits=Limits(None, 0.5, 60))
        assert caught.value.exit_code == EXIT_CODE


def test_existing_result_is_collected_without_a_job() -> None:
    with ApiServerDouble().serving() as server:
        result = run_job(
            api_of(server),
            REQUEST,
            ClusterConfig(nodes=2),
            lambda: "student",
            is_done=lambda: True,
            report=print,
            print_line=print,
        )
        assert result == "student"
        assert server.created == []


@pytest.mark.parametrize("owner", ["another run", "a person", "other work"])
def test_foreign_job_with_the_same_name_is_not_touched(launch: Launch, owner: str) -> None:
    with ApiServerDouble(train).serving() as server:
        foreign = train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"})
        if owner == "other work":
            foreign["metadata"]["annotations"] = {WORK: "another key"}
        else:
            foreign["metadata"]["labels"] = {RUN: "run-2"} if owner == "another run" else {}
        server.put(foreign)
        with pytest.raises(VicurError, match="belongs to other work") as caught:
            launch.run(server)
        assert caught.value.exit_code == 2
        assert list(server.jobs) == [JOB]
        assert "deletionTimestamp" not in server.jobs[JOB]["metadata"]


def test_delete_removes_only_the_job_with_the_given_uid_and_its_pods_first() -> None:
    with ApiServerDouble().serving() as server:
        api = api_of(server)
        created = api.create(MANIFEST)
        api.delete(JOB, "uid-of-an-earlier-one")
        assert "deletionTimestamp" not in server.jobs[JOB]["metadata"]
        server.deletion_seconds = 0.3
        api.delete(JOB, created["metadata"]["uid"])
        assert "deletionTimestamp" in server.jobs[JOB]["metadata"]


def test_step_does_not_wait_for_pods_beyond_the_deletion_limit(launch: Launch) -> None:
    """The pods still write their checkpoint."""
    with ApiServerDouble(stop_step("running"), deletion_seconds=1.5).serving() as server:
        started = time.monotonic()
        with pytest.raises(VicurError, match="SIGTERM"):
            launch.run(server, timing=replace(TIMING, deletion=0.2))
        assert time.monotonic() - started < 1.4
        assert "deletionTimestamp" in server.jobs[JOB]["metadata"]
        server.until(lambda: server.jobs == {})


def test_failing_end_callback_changes_nothing_and_runs_after_the_deletion(launch: Launch) -> None:
    """MLflow may be unavailable or reject the figures."""
    left = []

    def reject(_: object) -> None:
        left.extend(server.jobs)
        raise RuntimeError("INVALID_PARAMETER_VALUE")

    launch.ended = SimpleNamespace(append=reject)
    with ApiServerDouble(train).serving() as server:
        assert launch.run(server) == "student"
        assert left == []


def test_cleanup_deletes_all_jobs_of_a_run_and_no_other() -> None:
    with ApiServerDouble().serving() as server:
        for name, run in {"one": "run-1", "two": "run-1", "other": "run-2"}.items():
            server.put({"metadata": {"name": name, "labels": {PART_OF: "vicur", RUN: run}}, "spec": {}})
        assert delete_jobs(api_of(server), "run-1") == ["one", "two"]
        server.until(lambda: list(server.jobs) == ["other"])
        assert delete_jobs(api_of(server), "run-3") == []
