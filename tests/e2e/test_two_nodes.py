"""The training command on two nodes, started with torchrun's variables as in a training job."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.nodes import Cluster, assert_close, final_weights, start, wait
from vicur.config.tracking import TrackingConfig
from vicur.processes.signals import EXIT_CODE
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import STAGE_TAG

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


def training_runs(cluster: Cluster) -> dict[str, str]:
    """Return the status of the training runs in MLflow by run id."""
    runs = connect(TrackingConfig(uri=cluster.tracking)).search_runs(["1"], f"tags.`{STAGE_TAG}` LIKE 'train%'")
    return {run.info.run_id: run.info.status for run in runs}


def test_two_nodes_give_the_weights_of_one_process(cluster, one_process, tmp_path):
    before = training_runs(cluster)
    nodes = start(cluster, tmp_path / "two", 2)
    codes, output = wait(cluster, nodes)
    assert codes == [0, 0], output
    assert_close(one_process, final_weights(nodes[0].out))
    assert list(nodes[1].out.iterdir()) == [], "only node 0 writes outputs"
    (run,) = training_runs(cluster).keys() - before.keys()
    assert training_runs(cluster)[run] == "FINISHED"


def test_stopping_one_node_ends_both_with_a_checkpoint_and_the_exit_code_for_it(cluster: Cluster, tmp_path: Path):
    # The command has process id 1 in its container, which the kernel does not stop at signals without a handler.
    nodes = start(cluster, tmp_path / "stopped", 2, steps=2000, validate_every=2000, checkpoint_every=2000)
    # Wait for a step in the log: metrics are sent to MLflow only after the checkpoint of their step.
    deadline = time.monotonic() + 300
    while "/2000 " not in (log := cluster.engine.docker("logs", nodes[0].name).stderr):
        assert time.monotonic() < deadline, log
        time.sleep(0.5)
    cluster.engine.docker("stop", "--time", "120", nodes[1].name)
    codes, output = wait(cluster, nodes)
    assert codes == [EXIT_CODE, EXIT_CODE], output
    (checkpoint,) = (nodes[0].out / "kept").glob("step-*")
    assert 0 < int(checkpoint.name.removeprefix("step-")) < 2000
