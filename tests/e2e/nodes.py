"""The training command on several nodes: containers that have a network address and folders of their own, as pods have."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors.torch import load_file
from torch import Tensor

from tests.e2e.engine import Engine

NETWORK = "vicur-nodes"
STEPS = 4
TRAINING = {
    "steps": STEPS,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "validate_every": 2,
    "checkpoint_every": 1,
    "keep_checkpoints": 10,
    "validation_examples": 6,
    "rollout": {"max_new_tokens": 16},
    "distribution": {"processes": 1},
}
RESTRICTED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108


@dataclass(frozen=True)
class Cluster:
    """Where nodes are started.

    Attributes:
        engine: the engine.
        image: the image that they run.
        tracking: MLflow's address as they reach it.
        inputs: a dataset with its cues.
    """

    engine: Engine
    image: str
    tracking: str
    inputs: Path


@dataclass(frozen=True)
class Node:
    """A container that trains.

    Attributes:
        name: its name, and its address on the nodes' network.
        out: the folder that it writes to.
    """

    name: str
    out: Path


def training_command(place: str = "") -> list[str]:
    """The command of a training whose inputs and outputs lie below ``place``."""
    inputs, out = f"{place}/in", f"{place}/out"
    command = ["vicur", "train", "--config", f"{inputs}/run.yaml", "--dataset", f"{inputs}/dataset"]
    return [*command, "--cues", f"{inputs}/cues", "--output", f"{out}/student", "--checkpoints", f"{out}/kept"]


def lay_out(cluster: Cluster, folder: Path, **settings: object) -> None:
    """Writes the inputs of a training below ``folder``."""
    shutil.copytree(cluster.inputs, folder / "in")
    (folder / "in" / "run.yaml").write_text(yaml.safe_dump({"training": {**TRAINING, **settings}}))
    # Tests' folders are for their own user alone.
    for path in (folder / "in", *(folder / "in").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def writable(folder: Path) -> Path:
    """Makes a folder that the image's user can write to, who is nobody whom this machine knows."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return folder


def start(cluster: Cluster, folder: Path, count: int, **settings: object) -> list[Node]:
    """Starts the same command in ``count`` containers, told of each other as a training job's pods are."""
    lay_out(cluster, folder, **settings)
    nodes = [Node(f"{folder.name}-node-{rank}", writable(folder / f"out{rank}")) for rank in range(count)]
    for rank, node in enumerate(nodes):
        told = {"MLFLOW_TRACKING_URI": cluster.tracking}
        if count > 1:
            told |= {"PET_NNODES": str(count), "PET_NODE_RANK": str(rank)}
            told |= {"PET_MASTER_ADDR": nodes[0].name, "PET_MASTER_PORT": "29500"}
        options = [word for pair in told.items() for word in ("--env", "=".join(pair))]
        options += ["--volume", f"{folder}/in:/in:ro", "--volume", f"{node.out}:/out", "--network", NETWORK]
        command = ["run", "--detach", "--name", node.name, *options, *RESTRICTED, cluster.image, *training_command()]
        cluster.engine.docker(*command)
    return nodes


def ended(cluster: Cluster, nodes: list[Node]) -> tuple[list[int], str]:
    """Exit codes of the nodes once all have ended, and what they printed; the containers are removed."""
    codes = [int(cluster.engine.docker("wait", node.name).stdout) for node in nodes]
    logs = [cluster.engine.docker("logs", node.name) for node in nodes]
    for node in nodes:
        cluster.engine.docker("rm", node.name)
    return codes, "\n".join(f"{log.stdout[-3000:]}\n{log.stderr[-3000:]}" for log in logs)


def learned(out: Path) -> dict[str, Tensor]:
    """Weights after the last step."""
    return dict(load_file(out / "kept" / f"step-{STEPS:06d}" / "model.safetensors"))


def assert_alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """The same weights, up to the order in which gradients were added."""
    assert one.keys() == other.keys()
    for name, weight in one.items():
        apart = weight.sub(other[name]).abs()
        assert apart.max() < 1e-4, name
        assert apart.mean() < 1e-6, name
