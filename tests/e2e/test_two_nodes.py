"""The training command on two nodes: two containers, each with a network address and folders of its own, as two pods have them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests.e2e.engine import Engine
from tests.tracking.server import Server, free_port
from tests.training.factory import SMALL
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.tracking import TrackingConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.mlflow_store import connect
from vicur.stage import Session, execute
from vicur.tracking import STAGE_TAG, Tracker
from vicur.training.interruption import EXIT_CODE

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

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
COMMAND = "vicur train --config /in/run.yaml --dataset /in/dataset --cues /in/cues --output /out/student --checkpoints /out/kept"
RESTRICTED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")  # noqa: S108


@dataclass(frozen=True)
class Node:
    """A container that trains.

    Attributes:
        name: its name, and its address on the nodes' network.
        out: the folder that it writes to.
    """

    name: str
    out: Path


@pytest.fixture(scope="module")
def network(engine: Engine) -> Iterator[str]:
    """A network of the nodes' own, on which they have names."""
    engine.docker("network", "create", "vicur-nodes")
    yield "vicur-nodes"
    engine.docker("network", "rm", "vicur-nodes")


@pytest.fixture(scope="module")
def server(engine: Engine, network: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server that the nodes reach at this machine's address on their network."""
    gateway = engine.docker(
        "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network
    ).stdout.strip()
    server = Server(tmp_path_factory.mktemp("mlflow"), free_port(), gateway)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset with its cues."""
    root = tmp_path_factory.mktemp("inputs")
    session = Session("run", 0, None, tmp_path_factory.mktemp("scratch"), lambda _: Tracker())
    execute(PREPARE, SMALL, {}, root / "dataset", session)
    execute(EXTRACT, CuesConfig(provider=AnnotationCues()), {"dataset": root / "dataset"}, root / "cues", session)
    return root


def start(
    engine: Engine, image: str, server: Server, inputs: Path, folder: Path, count: int, **settings: object
) -> list[Node]:
    """Starts the same command in ``count`` containers, told of each other as a training job's pods are."""
    (inputs / "run.yaml").write_text(yaml.safe_dump({"training": {**TRAINING, **settings}}))
    nodes = [Node(f"{folder.name}-node-{rank}", folder / str(rank)) for rank in range(count)]
    for rank, node in enumerate(nodes):
        node.out.mkdir(parents=True)
        # The image's user is nobody whom this machine knows.
        node.out.chmod(0o777)
        told = {"MLFLOW_TRACKING_URI": server.uri}
        if count > 1:
            told |= {"PET_NNODES": str(count), "PET_NODE_RANK": str(rank)}
            told |= {"PET_MASTER_ADDR": nodes[0].name, "PET_MASTER_PORT": "29500"}
        options = [word for pair in told.items() for word in ("--env", "=".join(pair))]
        options += ["--volume", f"{inputs}:/in:ro", "--volume", f"{node.out}:/out", "--network", "vicur-nodes"]
        engine.docker("run", "--detach", "--name", node.name, *options, *RESTRICTED, image, *COMMAND.split())
    return nodes


def ended(engine: Engine, nodes: list[Node]) -> tuple[list[int], str]:
    """Exit codes of the nodes once all have ended, and what they printed; the containers are removed."""
    codes = [int(engine.docker("wait", node.name).stdout) for node in nodes]
    logs = [engine.docker("logs", node.name) for node in nodes]
    for node in nodes:
        engine.docker("rm", node.name)
    return codes, "\n".join(f"{log.stdout[-3000:]}\n{log.stderr[-3000:]}" for log in logs)


def weights(node: Node, step: int = STEPS) -> dict:
    return load_file(node.out / "kept" / f"step-{step:06d}" / "model.safetensors")


def test_two_nodes_learn_what_one_process_learns(engine, image, server, inputs, tmp_path):
    for name, count in {"one": 1, "two": 2}.items():
        nodes = start(engine, image, server, inputs, tmp_path / name, count)
        codes, printed = ended(engine, nodes)
        assert codes == [0] * count, printed
    assert list((tmp_path / "two" / "1").iterdir()) == [], "only node 0 writes"
    one, two = (weights(Node("", tmp_path / name / "0")) for name in ("one", "two"))
    assert one.keys() == two.keys()
    apart = {name: weight.sub(two[name]).abs() for name, weight in one.items()}
    assert max(each.max().item() for each in apart.values()) < 1e-4
    assert max(each.mean().item() for each in apart.values()) < 1e-6
    runs = connect(TrackingConfig(uri=server.uri)).search_runs(["1"], f"tags.`{STAGE_TAG}` = 'train'")
    assert [(run.info.status, run.data.params["distribution.processes"]) for run in runs] == [("FINISHED", "1")] * 2


def test_a_node_that_is_stopped_ends_both_with_a_checkpoint_and_the_status_that_says_so(
    engine, image, server, inputs, tmp_path
):
    """Each command is its container's first process, whom no signal ends that it does not handle itself."""
    nodes = start(
        engine, image, server, inputs, tmp_path / "stopped", 2, steps=500, validate_every=500, checkpoint_every=500
    )
    followed = ["docker", "logs", "--follow", nodes[0].name]
    with subprocess.Popen(
        followed, env=engine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as log:
        assert log.stdout is not None
        said = next((line for line in log.stdout if "step" in line.lower()), "")
        assert said, "node 0 ended before its first step"
        engine.docker("stop", "--time", "120", nodes[1].name)
        log.stdout.read()
    codes, printed = ended(engine, nodes)
    assert codes == [EXIT_CODE, EXIT_CODE], printed
    assert list((nodes[0].out / "kept").glob("step-*"))
