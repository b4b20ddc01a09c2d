"""Plays: what happens to a training job on the cluster double."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.cluster.api_server_double import ALWAYS, ApiServerDouble

STEPS = ["step 1", "step 2"]
"""Lines that a successful training logs."""


def send_sigterm() -> None:
    """Stop this process, as the platform stops a step."""
    os.kill(os.getpid(), signal.SIGTERM)


def train(server: ApiServerDouble, job: str) -> None:
    """The training succeeds."""
    pods = server.start(job)
    server.write(pods[0], *STEPS)
    server.complete(job)


def fail_with(code: int, *, node: int = 1, **how: Any) -> Callable[[ApiServerDouble, str], None]:
    """One node exits with a status, and the other fails because it lost the connection."""

    def play(server: ApiServerDouble, job: str) -> None:
        pods = server.start(job)
        server.write(pods[node], "Error: no such dataset")
        server.end(pods[node], code, **how)
        server.end(pods[1 - node], 1)
        server.event("Pod", pods[node], "BackOff", "back-off restarting failed container")
        server.fail(job)

    return play


def admit_late(server: ApiServerDouble, job: str) -> None:
    """Kueue admits the job after a while."""
    server.event(
        "Workload", f"trainjob-{job}-1a2b3", "Pending", "insufficient unused quota for nvidia.com/gpu", "Normal"
    )
    time.sleep(1.2)
    server.suspend(job, False)
    train(server, job)


def preempt(server: ApiServerDouble, job: str) -> None:
    """Kueue preempts the running job and admits it again."""
    server.suspend(job, False)
    server.write(server.start(job)[0], "step 1")
    time.sleep(0.3)
    server.suspend(job, True)
    server.delete_pods(job)
    time.sleep(0.3)
    server.suspend(job, False)
    server.write(server.start(job)[0], "step 2")
    server.complete(job)


def preempt_late(server: ApiServerDouble, job: str) -> None:
    """The job has been running for longer than it may be queued when Kueue preempts it."""
    time.sleep(0.3)
    server.suspend(job, False)
    server.start(job)
    time.sleep(1.5)
    server.suspend(job, True)
    server.delete_pods(job)
    time.sleep(0.3)
    server.suspend(job, False)
    train(server, job)


def pull_no_image(server: ApiServerDouble, job: str) -> None:
    """No node starts."""
    for pod in server.start(job, phase="Pending"):
        server.waiting(pod, "ImagePullBackOff", "no such image")


def start_slowly(server: ApiServerDouble, job: str) -> None:
    """The pods are pending, are replaced, and then train."""
    for pod in server.start(job, phase="Pending"):
        server.waiting(pod, "ContainerCreating")
    time.sleep(0.5)
    server.delete_pods(job)
    train(server, job)


def lose_pods(server: ApiServerDouble, job: str) -> None:
    """The job fails after its pods have disappeared."""
    server.start(job)
    time.sleep(0.2)
    server.delete_pods(job)
    server.fail(job)


def fail_long_after_start(server: ApiServerDouble, job: str) -> None:
    """A node fails, and the job only does so when the other node's pod has ended."""
    time.sleep(0.2)
    pods = server.start(job)
    time.sleep(1.3)
    server.end(pods[1], 2)
    time.sleep(1.3)
    server.fail(job)


def reject_pod(server: ApiServerDouble, job: str) -> None:
    """A kubelet rejects a pod, because a device is not healthy. No container starts."""
    server.reject_pod(server.start(job)[1], "UnexpectedAdmissionError")
    server.fail(job)


def fail_next_to_a_proxy(server: ApiServerDouble, job: str) -> None:
    """A node fails, and the proxy in its pod succeeds."""
    server.end(server.start(job)[1], 2, proxy=True)
    server.fail(job)


def expire_watches(server: ApiServerDouble, job: str) -> None:
    """The server forgets the versions that watches start from."""
    server.oldest_version = ALWAYS
    time.sleep(0.3)
    train(server, job)


def delete_job(server: ApiServerDouble, job: str) -> None:
    """Someone deletes the running job."""
    server.start(job)
    time.sleep(0.2)
    server.remove(job)


def replace_job(server: ApiServerDouble, job: str) -> None:
    """Someone replaces the running job by another one with the same name."""
    server.start(job)
    before = server.jobs[job]
    server.remove(job)
    server.put({**before, "metadata": {**before["metadata"], "annotations": {}, "labels": {}}})


def stop_step(phase: str) -> Callable[[ApiServerDouble, str], None]:
    """The step receives SIGTERM while its job is in a phase."""

    def play(server: ApiServerDouble, job: str) -> None:
        if phase == "running":
            server.write(server.start(job)[0], "step 1")
        elif phase == "starting":
            pull_no_image(server, job)
        time.sleep(0.2)
        send_sigterm()

    return play
