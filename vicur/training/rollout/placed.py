"""Servers that run next to a training on its machine (``placement: job``): started, watched, restarted and stopped with it.

On a cluster the job's manifest starts them instead, in separate pods, and names them in the environment of the training's pods.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vicur.config.training import TrainConfig
from vicur.config.vllm import API_KEY_VARIABLE
from vicur.errors import VicurError
from vicur.processes.machines import Machines
from vicur.processes.supervised import Helper, supervised
from vicur.training.rollout.addresses import VARIABLE, Addresses, addresses

_LOOPBACK = "127.0.0.1"


def server_command(task: Path) -> list[str]:
    """Return the command of a server, without its lifeline."""
    return [sys.executable, "-m", "vicur.training.rollout.child", str(task)]


def local_devices(config: TrainConfig) -> int:
    """Return the number of this machine's GPUs that servers of the training use."""
    placed = addresses()
    return config.server_devices if placed is None else placed.devices


@contextmanager
def placed_servers(config: TrainConfig, inputs: Mapping[str, Path], work: Path, device: str) -> Iterator[None]:
    """Run the servers of a training that are placed with it, and name them in the environment inside the block.

    Does nothing if the training has none, or if the cluster runs them.

    Raises:
        VicurError: if the training runs on several machines.
    """
    engines = {part: engine for part, engine in config.engines.items() if engine.placement == "job"}
    if not engines or addresses() is not None:
        yield
        return
    if Machines.from_environment().count > 1:
        raise VicurError(
            "the training runs on several machines, none of which can start servers for all of them.",
            where=f"training.{next(iter(engines))}.placement",
            remedy="Set it to url and start the servers yourself, or train on a cluster (cluster.nodes), whose jobs contain the servers.",
        )
    folder = work / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    failure = folder / "failure.json"
    helpers: list[Helper] = []
    urls: dict[str, tuple[str, ...]] = {}
    with _ports(sum(engine.settings.replicas for engine in engines.values())) as ports:
        gpus = _gpus(config.server_devices) if device == "cuda" else None
        for part, engine in engines.items():
            own = [ports.pop() for _ in range(engine.settings.replicas)]
            urls[part] = tuple(f"http://{_LOOPBACK}:{port}" for port in own)
            for number, port in enumerate(own):
                task = folder / f"{part}-{number}.json"
                _write_task(task, config, inputs, part, port)
                environment = {}
                if gpus is not None:
                    mine = [gpus.pop(0) for _ in range(engine.settings.tensor_parallel)]
                    environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
                name = f"{part} server {number}"
                output = task.with_suffix(".log")
                output.unlink(missing_ok=True)
                helpers.append(Helper(name, server_command(task), output, environment, partial(_is_free, port)))
    placed = Addresses(urls, config.server_devices if device == "cuda" else 0, exchange=True, failure=str(failure))
    # No other user of this machine may send weights to these servers.
    key = {} if os.environ.get(API_KEY_VARIABLE) else {API_KEY_VARIABLE: secrets.token_hex(24)}
    with _environment({VARIABLE: placed.to_variable(), **key}), supervised(helpers, folder, failure):
        yield


def _write_task(file: Path, config: TrainConfig, inputs: Mapping[str, Path], part: str, port: int) -> None:
    # A self-frozen teacher is the base.
    teacher = str((inputs.get("teacher") or inputs["base"]).absolute()) if part == "teacher" else None
    base = str(inputs["base"].absolute())
    task = {"config": config.model_dump(mode="json"), "base": base, "teacher": teacher, "host": _LOOPBACK, "port": port}
    file.write_text(json.dumps(task), encoding="utf-8")


def _gpus(count: int) -> list[str]:
    """Return the last ``count`` of the GPUs that this process may use. Its own processes use the first ones."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    return names[len(names) - count :]


@contextmanager
def _ports(count: int) -> Iterator[list[int]]:
    """Yield free ports, different from each other."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        yield [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
