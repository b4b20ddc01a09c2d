"""Stands for the kubelets of a cluster: runs the nodes of a job as processes of this machine, with the command of its manifest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.cluster.api_server_double import ApiServerDouble


class KubeletDouble:
    """A play for :class:`ApiServerDouble`: the job goes as its nodes' processes do.

    Args:
        folder: scratch space of the nodes, each its own below it.
        drains: says by a line of node 0's log whether node 1 is to be drained now (SIGTERM to its process).
    """

    def __init__(self, folder: Path, drains: Callable[[str], bool] = lambda _: False) -> None:
        self.folder, self.drains = folder, drains
        self.said: list[str] = []

    def __call__(self, server: ApiServerDouble, job: str) -> None:
        trainer = server.jobs[job]["spec"]["trainer"]
        command = [sys.executable, *trainer["command"][1:]]
        pods = server.start(job, trainer["numNodes"])
        port = _free_port()
        nodes = []
        for rank in range(trainer["numNodes"]):
            # As Kubeflow Trainer sets them.
            found = {"PET_NNODES": trainer["numNodes"], "PET_NODE_RANK": rank, "PET_MASTER_PORT": port}
            told = {each["name"]: each["value"] for each in trainer["env"]}
            scratch = self.folder / f"node-{rank}"
            scratch.mkdir(parents=True, exist_ok=True)
            own = {"PET_MASTER_ADDR": "127.0.0.1", "VICUR_SCRATCH": str(scratch), "TMPDIR": str(scratch)}
            environment = {**os.environ, **told, **own, **{name: str(value) for name, value in found.items()}}
            nodes.append(_start(command, environment, scratch))
        threads = [
            threading.Thread(target=self._read, args=(server, pod, node, nodes), daemon=True)
            for pod, node in zip(pods, nodes, strict=True)
        ]
        for thread in threads:
            thread.start()
        codes = [node.wait(timeout=240) for node in nodes]
        for thread in threads:
            thread.join()
        for pod, code in zip(pods, codes, strict=True):
            server.end(pod, code if code >= 0 else 128 - code)
        if any(codes):
            server.fail(job)
        else:
            server.complete(job)

    def _read(self, server: ApiServerDouble, pod: str, node: subprocess.Popen, nodes: list[subprocess.Popen]) -> None:
        assert node.stdout is not None
        for line in node.stdout:
            self.said.append(line.rstrip())
            server.write(pod, line.rstrip("\n"))
            if node is nodes[0] and self.drains(line):
                nodes[1].send_signal(signal.SIGTERM)


def _start(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
