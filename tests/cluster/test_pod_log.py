"""The log of node 0 is streamed completely, each line once, whatever happens to connections, pods and clocks."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.cluster.api_server_double import ApiServerDouble, Fault
from tests.cluster.launching import TIMING, Launch
from tests.cluster.plays import STEPS


def test_each_line_is_printed_once(launch: Launch) -> None:
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


def test_error_messages_of_the_node_are_not_printed_as_lines(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.write(pod, "step 1")
        server.logs[pod].append("failed to create fsnotify watcher: too many open files")
        time.sleep(0.3)
        server.logs[pod].pop()
        server.write(pod, "step 2")
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
    assert launch.printed == STEPS


def test_line_is_printed_whole_if_the_stream_ends_within_it(launch: Launch) -> None:
    """This happens if the API server loses its connection to the node."""

    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.write(pod, *STEPS)
        time.sleep(0.3)
        server.complete(job)

    with ApiServerDouble(play, faults=(Fault("get", "pods/log", "short"),)).serving() as server:
        launch.run(server)
    assert launch.printed == STEPS


def test_lines_are_printed_if_the_node_clock_jumps_back(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.logs[pod] += ["2026-10-25T02:59:59.5+02:00 step 1", "2026-10-25T02:00:00+01:00 step 2"]
        server.logs[pod] += ["2026-10-25T00:00:00Z step 3"]
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
    assert launch.printed == [*STEPS, "step 3"]


def test_idle_log_is_requested_again(launch: Launch) -> None:
    """The other end of the connection may have disappeared."""

    def play(server: ApiServerDouble, job: str) -> None:
        pod = server.start(job)[0]
        server.write(pod, *STEPS)
        server.until(lambda: launch.printed == STEPS)
        server.complete(job)

    with ApiServerDouble(play, faults=(Fault("get", "pods/log", "hang"),)).serving() as server:
        launch.run(server, timing=replace(TIMING, log_idle=0.3))
        assert not server.errors


def test_complete_log_is_not_read_again(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        pods = server.start(job)
        server.write(pods[0], *STEPS)
        server.end(pods[0])
        time.sleep(1.2)
        server.complete(job)

    with ApiServerDouble(play).serving() as server:
        launch.run(server)
        assert launch.printed == STEPS
        assert server.requests["get", "pods/log"] <= 3
