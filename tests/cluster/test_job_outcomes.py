"""Whatever happens to a job, the step ends with the right exit status and error, and leaves nothing on the cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.cluster import plays
from tests.cluster.api_server_double import ALWAYS, ApiServerDouble, Fault
from tests.cluster.launching import JOB, QUEUE, REQUEST, Launch, api_of
from tests.cluster.plays import STEPS, fail_with, send_sigterm, stop_step, train
from vicur.cluster.jobs.cleanup import delete_jobs
from vicur.cluster.jobs.failures import job_error
from vicur.cluster.jobs.manifest import train_job
from vicur.cluster.jobs.monitor import Limits
from vicur.cluster.preflight.checks.trainer import NEEDED
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

ALLOWED = {(verb, group, resource) for group, resource, verb in NEEDED}


@dataclass
class Scenario:
    """A play, and how the step must end."""

    play: Callable[[ApiServerDouble, str], object]
    code: int = 0
    text: str = ""
    """Contained in the error, a status message or the log."""
    faults: tuple[Fault, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    limits: Limits | None = None
    deletion_seconds: float = 0.0
    printed: list[str] | None = None


SCENARIOS = {
    # The training succeeds, despite problems of the cluster or the API server.
    "trains": Scenario(train, text="complete", printed=STEPS),
    "waits in the queue": Scenario(
        plays.admit_late, text="waiting in the queue gpus (insufficient unused quota", settings=QUEUE
    ),
    "is preempted after longer than it may be queued": Scenario(
        plays.preempt_late, settings=QUEUE, limits=Limits(1.2, 60, 60)
    ),
    "starts slowly": Scenario(plays.start_slowly, text="0 of 2 nodes are running (node 0: ContainerCreating"),
    "pods take time to end": Scenario(train, deletion_seconds=0.5),
    "a watch is too old": Scenario(plays.expire_watches),
    "watches are rejected as too old": Scenario(train, faults=(Fault("watch", "", 410, 2),)),
    "watches break off": Scenario(train, faults=(Fault("watch", "", "drop", 2),)),
    "a watch breaks off within a line": Scenario(plays.start_slowly, faults=(Fault("watch", "", "cut"),)),
    "the server is too busy": Scenario(train, faults=(Fault("get", "trainjobs", 429),)),
    "the server fails for a moment": Scenario(train, faults=(Fault("", "", 500, 3),)),
    "connections are dropped": Scenario(train, faults=(Fault("", "", "drop", 3),), printed=STEPS),
    "the response to create is lost": Scenario(
        train, faults=(Fault("create", "", "lost"),), text="of an earlier attempt"
    ),
    "create is rejected for a moment": Scenario(train, faults=(Fault("create", "", 503, 2),)),
    "a quota changes during create": Scenario(train, faults=(Fault("create", "", 409, 2),)),
    "the response to delete is lost": Scenario(train, faults=(Fault("delete", "", "lost"),)),
    "the log breaks off": Scenario(train, faults=(Fault("get", "pods/log", "cut", 2),), printed=STEPS),
    "the log is unavailable": Scenario(train, faults=(Fault("get", "pods/log", 500, ALWAYS),), printed=[]),
    # The input is invalid: a retry does not help.
    "a node finds invalid input": Scenario(fail_with(2), 2, "node 1 exited with status 2 (Error)"),
    "the end of the log is logged": Scenario(fail_with(2), 2, "Error: no such dataset"),
    "the events are logged": Scenario(fail_with(2), 2, "BackOff: back-off restarting failed container"),
    "a node fails long after its start": Scenario(
        plays.fail_long_after_start, 2, "node 1 exited with status 2", limits=Limits(None, 1.0, 60)
    ),
    "a proxy next to a failed node succeeds": Scenario(plays.fail_next_to_a_proxy, 2, "node 1 exited with status 2"),
    "the namespace does not exist": Scenario(
        train, 2, "Correct cluster.namespace", faults=(Fault("create", "", 404, ALWAYS),)
    ),
    "the job is too large": Scenario(
        train, 2, "the cluster rejected the request", faults=(Fault("create", "", 413, ALWAYS),)
    ),
    "the training runtime is missing": Scenario(
        lambda server, job: server.fail(job, "TrainingRuntimeNotSupported", "no vicur-torch"), 2, "no vicur-torch"
    ),
    "create is forbidden": Scenario(
        train, 2, "Bind the Roles in k8s/base/access to", faults=(Fault("create", "", 403, ALWAYS),)
    ),
    # The training failed: a retry resumes from the checkpoint, and may fail again.
    "a node crashes": Scenario(fail_with(1, node=0), 1, "node 0 exited with status 1 (Error)"),
    "a node runs out of memory": Scenario(fail_with(137, reason="OOMKilled"), 1, "cluster.gpu_steps.memory"),
    "someone deletes the job": Scenario(plays.delete_job, 1, "the job was deleted"),
    "someone replaces the job": Scenario(plays.replace_job, 1, "the job was deleted"),
    # The cluster interrupted the training: a retry resumes from the checkpoint.
    "a node is evicted": Scenario(fail_with(137, evicted=True), EXIT_CODE, "Evicted"),
    "a node is preempted": Scenario(fail_with(137, disrupted=True), EXIT_CODE, "node 1"),
    "an evicted pod has no exit status": Scenario(fail_with(0, evicted=True), EXIT_CODE, "node 1 failed: Evicted"),
    "a kubelet rejects a pod": Scenario(plays.reject_pod, EXIT_CODE, "node 1 failed: UnexpectedAdmissionError"),
    "a node is drained": Scenario(fail_with(EXIT_CODE), EXIT_CODE, "status 75"),
    "a node is ended by SIGTERM": Scenario(fail_with(143), EXIT_CODE, "status 143"),
    "the pods disappear": Scenario(plays.lose_pods, EXIT_CODE, "none of its pods exists"),
    "the training hangs": Scenario(
        lambda server, job: server.start(job), EXIT_CODE, "cluster.training_timeout_hours", limits=Limits(None, 60, 0.5)
    ),
    "the cluster's deadline passes": Scenario(
        lambda server, job: server.fail(job, "DeadlineExceeded", "too long"), EXIT_CODE, "activeDeadlineSeconds"
    ),
    "the nodes never start": Scenario(
        plays.pull_no_image, EXIT_CODE, "ImagePullBackOff: no such image", limits=Limits(None, 0.3, 60)
    ),
    "the job is never admitted": Scenario(
        lambda *_: None, EXIT_CODE, "cluster.jobs.queue_hours", settings=QUEUE, limits=Limits(0.5, 60, 60)
    ),
    "the step is stopped in the queue": Scenario(stop_step("queued"), EXIT_CODE, "SIGTERM", settings=QUEUE),
    "the step is stopped while nodes start": Scenario(stop_step("starting"), EXIT_CODE, "SIGTERM"),
    "the step is stopped while nodes train": Scenario(stop_step("running"), EXIT_CODE, "SIGTERM", deletion_seconds=0.5),
    "the step is stopped while the server is unavailable": Scenario(
        stop_step("running"), EXIT_CODE, "SIGTERM", faults=(Fault("watch", "", "drop", 5), Fault("delete", "", 500, 3))
    ),
}


def outcome(run: Callable[[], object]) -> tuple[str, int]:
    """Return the error and exit status that a step would end with."""
    try:
        run()
    except VicurError as error:
        return str(error), error.exit_code
    return "", 0


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_exit_status_is_right_and_nothing_is_left(scenario: Scenario, launch: Launch, caplog) -> None:
    double = ApiServerDouble(scenario.play, faults=scenario.faults, deletion_seconds=scenario.deletion_seconds)
    with double.serving() as server:
        error, code = outcome(lambda: launch.run(server, limits=scenario.limits, **scenario.settings))
        server.until(lambda: not [job for job in server.jobs.values() if job["metadata"]["labels"]])
        assert not server.errors
        assert code == scenario.code, error
        assert scenario.text in "\n".join((error, *launch.reported, caplog.text))
        if scenario.printed is not None:
            assert launch.printed == scenario.printed
        assert server.pods == {} or scenario.text == "the job was deleted"
        assert server.rights <= ALLOWED


def test_preempted_job_is_followed_to_its_new_pods(launch: Launch) -> None:
    with ApiServerDouble(plays.preempt).serving() as server:
        launch.run(server, **QUEUE)
    assert launch.printed == STEPS
    reported = [text.partition(" (")[0] for text in launch.reported]
    assert reported[-4:].count("waiting in the queue gpus") == 1


def test_step_stopped_while_collecting_deletes_the_job(launch: Launch) -> None:
    def collect() -> None:
        send_sigterm()
        time.sleep(5)

    with ApiServerDouble(train).serving() as server:
        with pytest.raises(VicurError, match="SIGTERM") as caught:
            launch.run(server, collect)
        assert caught.value.exit_code == EXIT_CODE
        server.until(lambda: server.jobs == {})


def test_progress_in_the_status_is_reported_without_a_line_for_each_change(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vicur.cluster.jobs.monitor._REPEAT_SECONDS", 0.5)

    def play(server: ApiServerDouble, job: str) -> None:
        server.start(job)
        for percentage in range(1, 101):
            server.set_trainer_status(job, progressPercentage=percentage)
            time.sleep(0.01)
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
        assert not server.errors
    running = [line for line in launch.reported if line.startswith("all 2 nodes are running")]
    assert any(re.fullmatch(r"all 2 nodes are running: \d+ %", line) for line in running)
    assert len(running) < 10


def test_step_stopped_while_creating_the_job_deletes_it(launch: Launch) -> None:
    """The server creates the job, and its response never arrives."""
    with ApiServerDouble(lambda *_: send_sigterm(), faults=(Fault("create", "", "lost"),)).serving() as server:
        with pytest.raises(VicurError, match="SIGTERM"):
            launch.run(server)
        server.until(lambda: server.jobs == {})


def test_step_stopped_while_deleting_the_job_still_succeeds(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        train(server, job)
        server.until(lambda: "deletionTimestamp" in server.jobs[job]["metadata"])
        send_sigterm()

    with ApiServerDouble(play, deletion_seconds=0.4).serving() as server:
        assert launch.run(server) == "student"
        assert server.jobs == {}
        assert not server.errors


def test_damaged_result_fails_the_step_and_deletes_the_job(launch: Launch) -> None:
    def collect() -> None:
        raise VicurError("the student is damaged.", remedy="Retry.", exit_code=EXIT_CODE)

    with ApiServerDouble(train).serving() as server:
        with pytest.raises(VicurError, match="is damaged"):
            launch.run(server, collect)
        server.until(lambda: server.jobs == {})
        # The pods are reported as they were before they were deleted.
        ((first, second),) = launch.ended
        assert first["metadata"]["name"] != second["metadata"]["name"]


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.3"])
def test_installed_trainer_accepts_the_job(launch: Launch, version: str) -> None:
    settings = {"node_selector": {"pool": "a100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    with ApiServerDouble(train, version=version).serving() as server:
        assert launch.run(server, **settings) == "student"


def test_error_without_trainjobs_says_what_to_install(launch: Launch) -> None:
    with ApiServerDouble(version="").serving() as server, pytest.raises(VicurError, match="Install Kubeflow Trainer"):
        launch.run(server)


def test_every_right_of_the_role_is_used(launch: Launch) -> None:
    """The scenarios above use no other right."""
    with ApiServerDouble(plays.preempt).serving() as server:
        launch.run(server, **QUEUE)
        server.play = fail_with(1)
        with pytest.raises(VicurError):
            launch.run(server)
        server.until(lambda: server.jobs == {})
        # Adopting a job of another attempt uses patch.
        server.play = lambda *_: None
        api = api_of(server)
        api.create(train_job(replace(REQUEST, owner=None), ClusterConfig(nodes=2), {"runtimePatches"}))
        server.complete(JOB)
        launch.run(server)
        api.pod("step")
        delete_jobs(api, "run-1")
        assert server.rights == ALLOWED


@pytest.mark.parametrize(("reason", "retryable"), [("OOMKilled", False), ("Error", True)])
def test_a_training_out_of_memory_is_not_repeated(reason, retryable):
    ended = {"exitCode": 137, "reason": reason, "finishedAt": "2026-01-01T00:00:00Z"}
    status = {"phase": "Failed", "containerStatuses": [{"name": "node", "state": {"terminated": ended}}]}
    pod = {"metadata": {"name": "node-0", "labels": {}}, "spec": {}, "status": status}
    assert job_error({"metadata": {"name": "job"}}, [pod]).retryable is retryable
