"""The training command on two nodes, started as a training job starts it: by torchrun's variables."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.nodes import Cluster, assert_alike, ended, learned, start
from vicur.config.tracking import TrackingConfig
from vicur.processes.signals import EXIT_CODE
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import STAGE_TAG

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


def training_runs(cluster: Cluster) -> dict[str, str]:
    """Status of the trainings that MLflow has, by run."""
    runs = connect(TrackingConfig(uri=cluster.tracking)).search_runs(["1"], f"tags.`{STAGE_TAG}` LIKE 'train%'")
    return {run.info.run_id: run.info.status for run in runs}


def test_two_nodes_learn_what_one_process_learns(cluster, one_process, tmp_path):
    before = training_runs(cluster)
    nodes = start(cluster, tmp_path / "two", 2)
    codes, printed = ended(cluster, nodes)
    assert codes == [0, 0], printed
    assert_alike(one_process, learned(nodes[0].out))
    assert list(nodes[1].out.iterdir()) == [], "only node 0 writes"
    (run,) = training_runs(cluster).keys() - before.keys()
    assert training_runs(cluster)[run] == "FINISHED"


def test_a_node_that_is_stopped_ends_both_with_a_checkpoint_and_the_status_that_says_so(
    cluster: Cluster, tmp_path: Path
):
    """Each command is its container's first process, whom no signal ends that it does not handle itself."""
    nodes = start(cluster, tmp_path / "stopped", 2, steps=2000, validate_every=2000, checkpoint_every=2000)
    # A step is sent to MLflow once a checkpoint covers it: that it trains, its log alone says.
    deadline = time.monotonic() + 300
    while "/2000 " not in (told := cluster.engine.docker("logs", nodes[0].name).stderr):
        assert time.monotonic() < deadline, told
        time.sleep(0.5)
    cluster.engine.docker("stop", "--time", "120", nodes[1].name)
    codes, printed = ended(cluster, nodes)
    assert codes == [EXIT_CODE, EXIT_CODE], printed
    (checkpoint,) = (nodes[0].out / "kept").glob("step-*")
    assert 0 < int(checkpoint.name.removeprefix("step-")) < 2000
