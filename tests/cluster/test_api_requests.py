"""Requests to the API server: how often, how long to wait, and which are rejected."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.cluster.api_server_double import ALWAYS, ApiServerDouble, Fault
from tests.cluster.launching import QUEUE, REQUEST, TIMING, Launch, api_of
from tests.cluster.plays import send_sigterm, train
from vicur.cluster.jobs.manifest import train_job
from vicur.config.cluster import ClusterConfig
from vicur.errors import VicurError


def test_queued_job_is_polled_slowly(launch: Launch) -> None:
    with ApiServerDouble(lambda *_: time.sleep(3.0) or send_sigterm()).serving() as server:
        with pytest.raises(VicurError, match="SIGTERM"):
            launch.run(server, timing=replace(TIMING, poll=2.0, log_poll=0.5), **QUEUE)
        assert server.requests["list", "pods"] <= 8


def test_retry_waits_as_long_as_a_busy_server_requests() -> None:
    """The server requests a second; without that, these tests would retry after 0.02 s."""
    with ApiServerDouble(train, faults=(Fault("create", "", 429),)).serving() as server:
        started = time.monotonic()
        api_of(server).create(train_job(REQUEST, ClusterConfig(nodes=2), {"runtimePatches"}))
        assert time.monotonic() - started > 1.0


def test_watches_that_end_immediately_are_reopened_after_a_pause(launch: Launch) -> None:
    def play(server: ApiServerDouble, job: str) -> None:
        time.sleep(2.0)
        server.faults.clear()
        train(server, job)

    with ApiServerDouble(play, faults=(Fault("watch", "", "end", ALWAYS),)).serving() as server:
        launch.run(server, timing=replace(TIMING, first_retry=0.5))
        assert server.requests["watch", "trainjobs"] <= 7


def test_unknown_field_is_rejected_instead_of_dropped() -> None:
    with ApiServerDouble().serving() as server:
        wrong = train_job(REQUEST, ClusterConfig(nodes=2), {"podTemplateOverrides"})
        with pytest.raises(VicurError, match="strict decoding error"):
            api_of(server).create(wrong)
        assert server.jobs == {}
