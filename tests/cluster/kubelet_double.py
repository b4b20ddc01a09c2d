"""Double of a cluster's kubelets: runs the nodes of a job as processes on this machine, with the command in its manifest."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.cluster.api_server_double import ApiServerDouble

_GRACE_SECONDS = 20.0


class KubeletDouble:
    """A play for :class:`ApiServerDouble`: the job succeeds or fails with the processes of its nodes.

    Args:
        folder: scratch space of the nodes.
        drain_at: the last node is drained once (SIGTERM to its process) when a line of node 0's log contains this text.
    """

    def __init__(self, folder: Path, drain_at: str) -> None:
        self.folder, self.drain_at, self.drained = folder, drain_at, False
        self.variables: dict[str, str] = {}

    def __call__(self, server: ApiServerDouble, job: str) -> None:
        trainer = server.jobs[job]["spec"]["trainer"]
        command = [sys.executable, *trainer["command"][1:]]
        pods = server.start(job, trainer["numNodes"])
        port = _free_port()
        nodes = []
        for rank in range(trainer["numNodes"]):
            # Kubeflow Trainer sets these.
            torchrun = {"PET_NNODES": trainer["numNodes"], "PET_NODE_RANK": rank, "PET_MASTER_PORT": port}
            task = {each["name"]: each["value"] for each in trainer["env"]}
            scratch = self.folder / f"node-{rank}"
            scratch.mkdir(parents=True, exist_ok=True)
            own = {"PET_MASTER_ADDR": "127.0.0.1", "VICUR_SCRATCH": str(scratch), "TMPDIR": str(scratch)}
            added = {**self.variables, **{name: str(value) for name, value in torchrun.items()}}
            environment = {**os.environ, **task, **own, **added}
            nodes.append(_start(command, environment, scratch))
        threads = [
            threading.Thread(target=self._read, args=(server, pod, node, nodes), daemon=True)
            for pod, node in zip(pods, nodes, strict=True)
        ]
        for thread in threads:
            thread.start()
        while any(node.poll() is None for node in nodes) and not any(node.poll() for node in nodes):
            time.sleep(0.05)
        ended = {pod: node for pod, node in zip(pods, nodes, strict=True) if node.poll() is not None}
        # JobSet fails the job when a node fails, and ends the other nodes.
        for node in nodes:
            node.terminate()
        for node in nodes:
            try:
                node.wait(timeout=_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                node.kill()
        for thread in threads:
            thread.join()
        for pod, node in {**ended, **dict(zip(pods, nodes, strict=True))}.items():
            server.end(pod, node.returncode if node.returncode >= 0 else 128 - node.returncode)
        if any(node.returncode for node in nodes):
            server.fail(job)
        else:
            server.complete(job)

    def _read(self, server: ApiServerDouble, pod: str, node: subprocess.Popen, nodes: list[subprocess.Popen]) -> None:
        assert node.stdout is not None
        for line in node.stdout:
            server.write(pod, line.rstrip("\n"))
            if node is nodes[0] and self.drain_at in line and not self.drained:
                self.drained = True
                nodes[-1].terminate()


def _start(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
