"""Run the training command on several nodes: containers with separate network addresses and folders, like pods."""

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
    """Everything that is needed to start nodes."""

    engine: Engine
    image: str
    tracking: str  # URI of MLflow from a node
    inputs: Path  # dataset and cues


@dataclass(frozen=True)
class Node:
    """Container that trains."""

    name: str  # also its host name
    out: Path  # output folder


def training_command(place: str = "") -> list[str]:
    """Return the training command with inputs and outputs in the folder ``place``."""
    inputs, out = f"{place}/in", f"{place}/out"
    command = ["vicur", "train", "--config", f"{inputs}/run.yaml", "--dataset", f"{inputs}/dataset"]
    return [*command, "--cues", f"{inputs}/cues", "--output", f"{out}/student", "--checkpoints", f"{out}/kept"]


def write_inputs(cluster: Cluster, folder: Path, **settings: object) -> None:
    """Write the inputs of a training run to ``folder``."""
    shutil.copytree(cluster.inputs, folder / "in")
    (folder / "in" / "run.yaml").write_text(yaml.safe_dump({"training": {**TRAINING, **settings}}))
    # pytest's folders are only readable by the current user.
    for path in (folder / "in", *(folder / "in").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def writable(folder: Path) -> Path:
    """Create a folder that is writable for the user of the image, who does not exist on this machine."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return folder


def start(cluster: Cluster, folder: Path, count: int, **settings: object) -> list[Node]:
    """Start the same command in ``count`` containers, with the variables that pods of a training job get."""
    write_inputs(cluster, folder, **settings)
    nodes = [Node(f"{folder.name}-node-{rank}", writable(folder / f"out{rank}")) for rank in range(count)]
    for rank, node in enumerate(nodes):
        variables = {"MLFLOW_TRACKING_URI": cluster.tracking}
        if count > 1:
            variables |= {"PET_NNODES": str(count), "PET_NODE_RANK": str(rank)}
            variables |= {"PET_MASTER_ADDR": nodes[0].name, "PET_MASTER_PORT": "29500"}
        options = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
        options += ["--volume", f"{folder}/in:/in:ro", "--volume", f"{node.out}:/out", "--network", NETWORK]
        command = ["run", "--detach", "--name", node.name, *options, *RESTRICTED, cluster.image, *training_command()]
        cluster.engine.docker(*command)
    return nodes


def wait(cluster: Cluster, nodes: list[Node]) -> tuple[list[int], str]:
    """Wait until all nodes have exited, remove them, and return their exit codes and output."""
    codes = [int(cluster.engine.docker("wait", node.name).stdout) for node in nodes]
    logs = [cluster.engine.docker("logs", node.name) for node in nodes]
    for node in nodes:
        cluster.engine.docker("rm", node.name)
    return codes, "\n".join(f"{log.stdout[-3000:]}\n{log.stderr[-3000:]}" for log in logs)


def final_weights(out: Path) -> dict[str, Tensor]:
    """Return the weights after the last step."""
    return dict(load_file(out / "kept" / f"step-{STEPS:06d}" / "model.safetensors"))


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Assert that weights are equal except for rounding, because gradients are added in a different order."""
    assert one.keys() == other.keys()
    for name, weight in one.items():
        difference = weight.sub(other[name]).abs()
        assert difference.max() < 1e-4, name
        assert difference.mean() < 1e-6, name
