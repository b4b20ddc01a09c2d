"""Whatever happens to a job, the launcher ends with the right exit status, says why, and leaves nothing on the cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.api_server_double import ALWAYS, ApiServerDouble, Fault
from tests.cluster.launching import JOB, PACE, REQUEST, Launch, api_of
from vicur.cluster.jobs.launcher import Limits, run_job
from vicur.cluster.jobs.manifest import train_job
from vicur.cluster.jobs.names import PART_OF, RUN, WORK
from vicur.cluster.jobs.reaper import reap
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

ALLOWED = {
    *((verb, "trainer.kubeflow.org", "trainjobs") for verb in ("create", "get", "list", "watch", "patch", "delete")),
    *(("list", "", "pods"), ("get", "", "pods"), ("get", "", "pods/log"), ("list", "", "events")),
}
"""Rights that the step's Role must give, and all that it needs."""


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def trains(server: ApiServerDouble, job: str) -> None:
    pods = server.start(job)
    server.write(pods[0], "step 1", "step 2")
    server.complete(job)


def ends_with(code: int, *, node: int = 1, **how: Any) -> Callable[[ApiServerDouble, str], None]:
    def play(server: ApiServerDouble, job: str) -> None:
        pods = server.start(job)
        server.write(pods[node], "Error: no such dataset")
        server.end(pods[node], code, **how)
        # The others lose it, and are ended too.
        server.end(pods[1 - node], 1)
        server.event("Pod", pods[node], "BackOff", "the pod came to grief")
        server.fail(job)

    return play


def is_admitted_late(server: ApiServerDouble, job: str) -> None:
    server.event(
        "Workload", f"trainjob-{job}-1a2b3", "Pending", "insufficient unused quota for nvidia.com/gpu", "Normal"
    )
    time.sleep(1.2)
    server.suspend(job, False)
    trains(server, job)


def is_preempted(server: ApiServerDouble, job: str) -> None:
    server.suspend(job, False)
    pods = server.start(job)
    server.write(pods[0], "step 1")
    time.sleep(0.3)
    server.suspend(job, True)
    server.vanish(job)
    time.sleep(0.3)
    server.suspend(job, False)
    pods = server.start(job)
    server.write(pods[0], "goes on")
    server.complete(job)


def pulls_no_image(server: ApiServerDouble, job: str) -> None:
    for pod in server.start(job, phase="Pending"):
        server.waiting(pod, "ImagePullBackOff", "no such image")


def starts_slowly(server: ApiServerDouble, job: str) -> None:
    pods = server.start(job, phase="Pending")
    for pod in pods:
        server.waiting(pod, "ContainerCreating")
    time.sleep(0.5)
    server.vanish(job)
    trains(server, job)


def loses_its_pods(server: ApiServerDouble, job: str) -> None:
    server.start(job)
    time.sleep(0.2)
    server.vanish(job)
    server.fail(job)


def fails_long_after_its_start(server: ApiServerDouble, job: str) -> None:
    """The pod of one node has ended, and its job is not yet given up: the other node's pod takes its time to end."""
    time.sleep(0.2)
    pods = server.start(job)
    time.sleep(2.0)
    server.end(pods[1], 2)
    time.sleep(1.3)
    server.fail(job)


def is_preempted_late(server: ApiServerDouble, job: str) -> None:
    time.sleep(0.3)
    server.suspend(job, False)
    server.start(job)
    time.sleep(2.0)
    server.suspend(job, True)
    server.vanish(job)
    time.sleep(0.3)
    server.suspend(job, False)
    trains(server, job)


def is_turned_away(server: ApiServerDouble, job: str) -> None:
    """By the kubelet: a device of its node is not healthy. No container has started."""
    pods = server.start(job)
    server.turn_away(pods[1], "UnexpectedAdmissionError")
    server.fail(job)


def fails_beside_a_proxy(server: ApiServerDouble, job: str) -> None:
    pods = server.start(job)
    server.end(pods[1], 2, proxy=True)
    server.fail(job)


def is_forgotten_by_watches(server: ApiServerDouble, job: str) -> None:
    server.forgotten = ALWAYS
    time.sleep(0.3)
    trains(server, job)


def is_removed(server: ApiServerDouble, job: str) -> None:
    server.start(job)
    time.sleep(0.2)
    server.remove(job)


def is_removed_and_made_anew(server: ApiServerDouble, job: str) -> None:
    server.start(job)
    made = server.jobs[job]
    server.remove(job)
    server.put({**made, "metadata": {**made["metadata"], "annotations": {}, "labels": {}}})


def is_stopped(when: str) -> Callable[[ApiServerDouble, str], None]:
    """The step is asked to stop in a phase."""

    def play(server: ApiServerDouble, job: str) -> None:
        if when == "running":
            server.write(server.start(job)[0], "step 1")
        elif when == "starting":
            pulls_no_image(server, job)
        time.sleep(0.2)
        stop()

    return play


@dataclass
class Scenario:
    """What happens, and how the step is to end."""

    play: Callable[[ApiServerDouble, str], object]
    code: int = 0
    says: str = ""
    faults: tuple[Fault, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    limits: Limits | None = None
    lingering: float = 0.0
    printed: list[str] | None = None


STEPS = ["step 1", "step 2"]
QUEUE = {"queue": "gpus"}
SCENARIOS = {
    # It goes well, whatever the server does meanwhile.
    "trains": Scenario(trains, says="complete", printed=STEPS),
    "waits in the queue": Scenario(
        is_admitted_late, says="waits in the queue gpus (insufficient unused quota", settings=QUEUE
    ),
    "is preempted and admitted again": Scenario(is_preempted, settings=QUEUE),
    "is preempted after longer than it may queue": Scenario(
        is_preempted_late, settings=QUEUE, limits=Limits(1.5, 60, 60)
    ),
    "starts slowly": Scenario(starts_slowly, says="0 of 2 nodes run (node 0: ContainerCreating"),
    "pods take time to end": Scenario(trains, lingering=0.5),
    "a watch is too old": Scenario(is_forgotten_by_watches),
    "watches are refused as too old": Scenario(trains, faults=(Fault("watch", "", 410, 2),)),
    "watches break off": Scenario(trains, faults=(Fault("watch", "", "drop", 2),)),
    "a watch breaks off within a line": Scenario(starts_slowly, faults=(Fault("watch", "", "cut"),)),
    "the server is too busy": Scenario(trains, faults=(Fault("get", "trainjobs", 429),)),
    "the server fails for a moment": Scenario(trains, faults=(Fault("", "", 500, 3),)),
    "connections are dropped": Scenario(trains, faults=(Fault("", "", "drop", 3),), printed=STEPS),
    "the answer to create is lost": Scenario(
        trains, faults=(Fault("create", "", "lost"),), says="of an earlier attempt"
    ),
    "create is refused for a moment": Scenario(trains, faults=(Fault("create", "", 503, 2),)),
    "a quota is changed meanwhile": Scenario(trains, faults=(Fault("create", "", 409, 2),)),
    "the answer to delete is lost": Scenario(trains, faults=(Fault("delete", "", "lost"),)),
    "the log breaks off": Scenario(trains, faults=(Fault("get", "pods/log", "cut", 2),), printed=STEPS),
    "the log is not to be had": Scenario(trains, faults=(Fault("get", "pods/log", 500, ALWAYS),), printed=[]),
    # The input is at fault: a retry does not help.
    "a node finds the input at fault": Scenario(ends_with(2), 2, "node 1 ended with status 2 (Error)"),
    "the log's end is told": Scenario(ends_with(2), 2, "Error: no such dataset"),
    "the events are told": Scenario(ends_with(2), 2, "BackOff: the pod came to grief"),
    "a node fails long after its start": Scenario(
        fails_long_after_its_start, 2, "node 1 ended with status 2", limits=Limits(None, 1.5, 60)
    ),
    "a proxy beside a node ends well": Scenario(fails_beside_a_proxy, 2, "node 1 ended with status 2"),
    "the namespace is not there": Scenario(
        trains, 2, "Correct the namespace", faults=(Fault("create", "", 404, ALWAYS),)
    ),
    "the job is too large": Scenario(trains, 2, "the cluster refuses it", faults=(Fault("create", "", 413, ALWAYS),)),
    "the job's runtime is missing": Scenario(
        lambda server, job: server.fail(job, "TrainingRuntimeNotSupported", "no vicur-torch"), 2, "no vicur-torch"
    ),
    "create is forbidden": Scenario(
        trains, 2, "Role of k8s/base/access/training.yaml", faults=(Fault("create", "", 403, ALWAYS),)
    ),
    # Something went wrong: a retry goes on from the checkpoint, and may meet it again.
    "a node crashes": Scenario(ends_with(1, node=0), 1, "node 0 ended with status 1 (Error)"),
    "a node runs out of memory": Scenario(ends_with(137, reason="OOMKilled"), 1, "cluster.gpu_steps.memory"),
    "somebody removes the job": Scenario(is_removed, 1, "removed by somebody"),
    "somebody puts another in its place": Scenario(is_removed_and_made_anew, 1, "removed by somebody"),
    # Nothing is wrong: a retry goes on.
    "a node is evicted": Scenario(ends_with(137, evicted=True), EXIT_CODE, "Evicted"),
    "a node is preempted": Scenario(ends_with(137, disrupted=True), EXIT_CODE, "node 1"),
    "an evicted pod has no status": Scenario(ends_with(0, evicted=True), EXIT_CODE, "node 1: Evicted"),
    "a kubelet turns a node's pod away": Scenario(is_turned_away, EXIT_CODE, "node 1: UnexpectedAdmissionError"),
    "a node is drained": Scenario(ends_with(EXIT_CODE), EXIT_CODE, "status 75"),
    "a node is ended by SIGTERM": Scenario(ends_with(143), EXIT_CODE, "status 143"),
    "the pods vanish": Scenario(loses_its_pods, EXIT_CODE, "none of its pods is left"),
    "it hangs": Scenario(
        lambda server, job: server.start(job), EXIT_CODE, "cluster.training_timeout_hours", limits=Limits(None, 60, 0.5)
    ),
    "the cluster's deadline": Scenario(
        lambda server, job: server.fail(job, "DeadlineExceeded", "too long"), EXIT_CODE, "activeDeadlineSeconds"
    ),
    "it never starts": Scenario(
        pulls_no_image, EXIT_CODE, "ImagePullBackOff: no such image", limits=Limits(None, 0.3, 60)
    ),
    "it is never admitted": Scenario(
        lambda *_: None, EXIT_CODE, "cluster.jobs.queue_hours", settings=QUEUE, limits=Limits(0.5, 60, 60)
    ),
    "it is stopped in the queue": Scenario(is_stopped("queued"), EXIT_CODE, "SIGTERM", settings=QUEUE),
    "it is stopped while it starts": Scenario(is_stopped("starting"), EXIT_CODE, "SIGTERM"),
    "it is stopped while it runs": Scenario(is_stopped("running"), EXIT_CODE, "SIGTERM", lingering=0.5),
    "it is stopped while the server is away": Scenario(
        is_stopped("running"), EXIT_CODE, "SIGTERM", faults=(Fault("watch", "", "drop", 5), Fault("delete", "", 500, 3))
    ),
}


def how_it_ends(run: Callable[[], object]) -> tuple[str, int]:
    """What a step that ends badly says, and its exit status."""
    try:
        run()
    except VicurError as error:
        return str(error), error.exit_code
    return "", 0


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_the_exit_status_is_right_and_nothing_is_left(scenario: Scenario, launch: Launch, caplog) -> None:
    double = ApiServerDouble(scenario.play, faults=scenario.faults, lingering=scenario.lingering)
    with double.serving() as server:
        said, code = how_it_ends(lambda: launch.run(server, limits=scenario.limits, **scenario.settings))
        server.until(lambda: not [job for job in server.jobs.values() if job["metadata"]["labels"]])
        assert not server.trouble
        assert code == scenario.code, said
        assert scenario.says in "\n".join((said, *launch.told, caplog.text))
        if scenario.printed is not None:
            assert launch.printed == scenario.printed
        assert server.pods == {} or scenario.says == "removed by somebody"
        assert server.asked <= ALLOWED


def test_a_job_that_is_preempted_is_followed_to_its_new_pods(launch: Launch) -> None:
    with ApiServerDouble(is_preempted).serving() as server:
        launch.run(server, **QUEUE)
    assert launch.printed == ["step 1", "goes on"]
    words = [words.partition(" (")[0] for words in launch.told]
    assert words[-4:].count("waits in the queue gpus") == 1


def test_each_line_of_the_log_is_told_once(launch: Launch) -> None:
    lines = [f"step {number}" for number in range(60)]

    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        for line in lines:
            server.write(pod, line)
            time.sleep(0.005)
        server.complete(job)

    faults = (Fault("get", "pods/log", "cut", 2), Fault("get", "pods/log", 500, 2))
    with ApiServerDouble(play, faults=faults).serving() as server:
        launch.run(server)
    assert launch.printed == lines


def test_what_a_node_says_of_a_log_that_it_cannot_read_is_no_line_of_it(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.write(pod, "step 1")
        server.logs[pod].append("failed to create fsnotify watcher: too many open files")
        time.sleep(0.7)
        server.logs[pod].pop()
        server.write(pod, "step 2")
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
    assert launch.printed == STEPS


def test_a_line_is_told_whole_where_the_log_ends_within_it(launch: Launch) -> None:
    """As where it is the server that loses its connection to the node."""

    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.write(pod, *STEPS)
        time.sleep(0.7)
        server.complete(job)

    with ApiServerDouble(play, faults=(Fault("get", "pods/log", "short"),)).serving() as server:
        launch.run(server)
    assert launch.printed == STEPS


def test_lines_are_told_where_the_nodes_clock_goes_back(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.logs[pod] += ["2026-10-25T02:59:59.5+02:00 step 1", "2026-10-25T02:00:00+01:00 step 2"]
        server.logs[pod] += ["2026-10-25T00:00:00Z step 3"]
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
    assert launch.printed == [*STEPS, "step 3"]


def test_a_log_that_is_silent_for_long_is_asked_for_again(launch: Launch) -> None:
    """The other end of the connection may be gone without a word."""

    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.write(pod, *STEPS)
        server.until(lambda: launch.printed == STEPS)
        server.complete(job)

    with ApiServerDouble(play, faults=(Fault("get", "pods/log", "hang"),)).serving() as server:
        launch.run(server, pace=replace(PACE, silence=0.3))
        assert not server.trouble


def test_a_log_that_was_read_to_its_end_is_not_read_again(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        pods = server.start(job)
        server.write(pods[0], *STEPS)
        server.end(pods[0])
        time.sleep(2.5)
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
        assert launch.printed == STEPS
        assert server.requests["get", "pods/log"] <= 3


def test_a_job_in_its_queue_is_asked_for_no_more_often_than_the_pace_has_it(launch: Launch) -> None:
    with ApiServerDouble(lambda *_: time.sleep(4.0) or stop()).serving() as server:
        with pytest.raises(VicurError, match="SIGTERM"):
            launch.run(server, pace=replace(PACE, tick=2.0), **QUEUE)
        assert server.requests["list", "pods"] <= 9


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks() -> None:
    """It asks for a second; the pace of these tests would have it asked after a fiftieth of one."""
    with ApiServerDouble(trains, faults=(Fault("create", "", 429),)).serving() as server:
        started = time.monotonic()
        api_of(server).create(train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"}))
        assert time.monotonic() - started > 1.0


def test_what_is_removed_is_the_job_that_was_meant_and_its_pods_go_first() -> None:
    with ApiServerDouble().serving() as server:
        api = api_of(server)
        made = api.create(train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"}))
        api.delete(JOB, "uid-of-an-earlier-one")
        assert "deletionTimestamp" not in server.jobs[JOB]["metadata"]
        server.lingering = 0.3
        api.delete(JOB, made["metadata"]["uid"])
        assert "deletionTimestamp" in server.jobs[JOB]["metadata"]


def test_watches_that_end_at_once_are_not_opened_again_at_once(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        time.sleep(2.0)
        server.faults.clear()
        trains(server, job)

    with ApiServerDouble(play, faults=(Fault("watch", "", "end", ALWAYS),)).serving() as server:
        launch.run(server, pace=replace(PACE, first_wait=0.5))
        assert server.requests["watch", "trainjobs"] <= 7


def test_a_retry_adopts_the_job_of_an_attempt_that_was_cut_off(launch: Launch) -> None:
    """The server went away under the first attempt, which could not remove its job."""
    with ApiServerDouble(lambda server, job: server.start(job)).serving() as server:
        server.play = lambda server, job: (server.start(job), server.faults.append(Fault("", "", 503, ALWAYS)))
        with pytest.raises(VicurError, match="API has been in trouble") as caught:
            launch.run(server)
        assert caught.value.exit_code == EXIT_CODE
        server.faults.clear()
        made = server.jobs[JOB]["metadata"]["uid"]
        again = Launch()
        server.complete(JOB)
        assert again.run(server) == "student"
        assert [job["metadata"]["uid"] for job in server.created] == [made]
        assert again.told[0] == f"goes on with the TrainJob {JOB} of an earlier attempt"
        server.until(lambda: server.jobs == {})


def test_an_adopted_job_has_this_attempts_owner(launch: Launch) -> None:
    with ApiServerDouble(lambda *_: None).serving() as server:
        first = replace(REQUEST, owner={"apiVersion": "v1", "kind": "Pod", "name": "attempt-1", "uid": "uid-1"})
        api_of(server).create(train_job(first, ClusterConfig(nodes=2), {"runtimePatches"}))
        owners = []

        def collect() -> None:
            owners.extend(server.jobs[JOB]["metadata"]["ownerReferences"])

        server.complete(JOB)
        launch.run(server, collect)
    assert owners == [REQUEST.owner]


def test_a_failed_job_of_an_earlier_attempt_is_removed_and_made_anew(launch: Launch) -> None:
    with ApiServerDouble(lambda server, job: server.fail(job), lingering=0.3).serving() as server:
        api_of(server).create(train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"}))
        server.until(lambda: "status" in server.jobs[JOB])
        server.play = trains
        assert launch.run(server) == "student"
        assert len(server.created) == 2


def test_what_is_done_already_is_collected_without_a_job() -> None:
    with ApiServerDouble().serving() as server:
        found = run_job(
            api_of(server),
            REQUEST,
            ClusterConfig(nodes=2),
            lambda: "student",
            is_done=lambda: True,
            tell=print,
            print_line=print,
        )
        assert found == "student"
        assert server.created == []


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_jobs_pods_are_told_of_as_they_were_before_they_were_removed(launch: Launch, ends_well: bool) -> None:
    with ApiServerDouble(trains).serving() as server:
        if ends_well:
            launch.run(server)
        else:
            with pytest.raises(VicurError, match="damaged"):
                launch.run(server, damaged)
    ((first, second),) = launch.ended
    assert first["metadata"]["name"] != second["metadata"]["name"]


def test_what_is_told_of_a_jobs_pods_keeps_no_job_and_changes_nothing(launch: Launch) -> None:
    """MLflow may be away, or refuse."""
    left = []

    def refused(_: object) -> None:
        left.extend(server.jobs)
        raise RuntimeError("INVALID_PARAMETER_VALUE")

    launch.ended = SimpleNamespace(append=refused)
    with ApiServerDouble(trains).serving() as server:
        assert launch.run(server) == "student"
        assert left == []


def test_a_job_that_does_not_go_is_not_waited_for_without_an_end(launch: Launch) -> None:
    """Its pods were on a node that is lost."""
    with ApiServerDouble(lambda server, job: server.fail(job), lingering=20).serving() as server:
        api_of(server).create(train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"}))
        server.until(lambda: "status" in server.jobs[JOB])
        with pytest.raises(VicurError, match="still being removed") as caught:
            launch.run(server, limits=Limits(None, 0.5, 60))
        assert caught.value.exit_code == EXIT_CODE


def damaged() -> None:
    raise VicurError("the student is damaged.", remedy="Train again.")


@pytest.mark.parametrize("taken_from", ["another run", "a person", "other work"])
def test_a_foreign_job_of_the_same_name_is_left_alone(launch: Launch, taken_from: str) -> None:
    with ApiServerDouble(trains).serving() as server:
        foreign = train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"})
        if taken_from == "other work":
            foreign["metadata"]["annotations"] = {WORK: "another key"}
        else:
            foreign["metadata"]["labels"] = {RUN: "run-2"} if taken_from == "another run" else {}
        server.put(foreign)
        with pytest.raises(VicurError, match="another's job") as caught:
            launch.run(server)
        assert caught.value.exit_code == 2
        assert list(server.jobs) == [JOB]
        assert "deletionTimestamp" not in server.jobs[JOB]["metadata"]


def test_a_step_that_is_stopped_while_it_collects_removes_the_job(launch: Launch) -> None:
    def collect() -> None:
        stop()
        time.sleep(5)

    with ApiServerDouble(trains).serving() as server:
        with pytest.raises(VicurError, match="SIGTERM") as caught:
            launch.run(server, collect)
        assert caught.value.exit_code == EXIT_CODE
        server.until(lambda: server.jobs == {})


def test_a_step_that_is_stopped_while_it_makes_the_job_removes_it(launch: Launch) -> None:
    """The server makes the job and its answer never comes."""
    with ApiServerDouble(lambda *_: stop(), faults=(Fault("create", "", "lost"),)).serving() as server:
        with pytest.raises(VicurError, match="SIGTERM"):
            launch.run(server)
        server.until(lambda: server.jobs == {})


def test_a_step_that_is_stopped_while_it_removes_the_job_has_done_its_work(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        trains(server, job)
        server.until(lambda: "deletionTimestamp" in server.jobs[job]["metadata"])
        stop()

    with ApiServerDouble(play, lingering=0.4).serving() as server:
        assert launch.run(server) == "student"
        assert server.jobs == {}
        assert not server.trouble


def test_pods_that_write_their_checkpoint_are_not_waited_for_beyond_the_grace(launch: Launch) -> None:
    with ApiServerDouble(is_stopped("running"), lingering=1.5).serving() as server:
        started = time.monotonic()
        with pytest.raises(VicurError, match="SIGTERM"):
            launch.run(server, pace=replace(PACE, goodbye=0.2))
        assert time.monotonic() - started < 1.4
        assert "deletionTimestamp" in server.jobs[JOB]["metadata"]
        server.until(lambda: server.jobs == {})


def test_a_damaged_result_fails_the_step_and_removes_the_job(launch: Launch) -> None:
    def collect() -> None:
        raise VicurError("is damaged.", remedy="Again.", exit_code=EXIT_CODE)

    with ApiServerDouble(trains).serving() as server:
        with pytest.raises(VicurError, match="is damaged"):
            launch.run(server, collect)
        server.until(lambda: server.jobs == {})


def test_a_cluster_without_trainjobs_says_what_to_install(launch: Launch) -> None:
    with ApiServerDouble(version="").serving() as server, pytest.raises(VicurError, match="Install Kubeflow Trainer"):
        launch.run(server)


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.3"])
def test_the_job_is_one_that_the_installed_trainer_knows(launch: Launch, version: str) -> None:
    """The server refuses a job with a field that its schema has not."""
    settings = {"node_selector": {"pool": "a100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    with ApiServerDouble(trains, version=version).serving() as server:
        assert launch.run(server, **settings) == "student"


def test_a_field_that_the_server_does_not_know_is_refused_and_not_dropped() -> None:
    with ApiServerDouble().serving() as server:
        wrong = train_job(REQUEST, ClusterConfig(nodes=2), {"podTemplateOverrides"})
        with pytest.raises(VicurError, match="strict decoding error"):
            api_of(server).create(wrong)
        assert server.jobs == {}


def test_the_reaper_removes_all_jobs_of_a_run_and_no_other() -> None:
    with ApiServerDouble().serving() as server:
        for name, run in {"one": "run-1", "two": "run-1", "other": "run-2"}.items():
            server.put({"metadata": {"name": name, "labels": {PART_OF: "vicur", RUN: run}}, "spec": {}})
        assert reap(api_of(server), "run-1") == ["one", "two"]
        server.until(lambda: list(server.jobs) == ["other"])
        assert reap(api_of(server), "run-3") == []


def test_the_launcher_needs_all_that_its_role_is_to_give(launch: Launch) -> None:
    """Each right is used by some launch; the scenarios above use no other. A pod is read to find the step's workflow."""
    with ApiServerDouble(is_preempted).serving() as server:
        launch.run(server, **QUEUE)
        server.play = ends_with(1)
        with pytest.raises(VicurError):
            launch.run(server)
        server.until(lambda: server.jobs == {})
        made = train_job(replace(REQUEST, owner=None), ClusterConfig(nodes=2), {"runtimePatches"})
        server.play = lambda *_: None
        api = api_of(server)
        api.create(made)
        server.complete(JOB)
        launch.run(server)
        api.pod("step")
        reap(api, "run-1")
        assert server.asked == ALLOWED
