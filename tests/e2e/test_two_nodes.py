"""The training command on two nodes, started as a training job starts it: by torchrun's variables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.nodes import Cluster, assert_alike, ended, learned, start
from vicur.config.tracking import TrackingConfig
from vicur.mlflow_store import connect
from vicur.tracking import STAGE_TAG
from vicur.training.interruption import EXIT_CODE

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


def test_two_nodes_learn_what_one_process_learns(cluster, one_process, tmp_path):
    nodes = start(cluster, tmp_path / "two", 2)
    codes, printed = ended(cluster, nodes)
    assert codes == [0, 0], printed
    assert_alike(one_process, learned(nodes[0].out))
    assert list(nodes[1].out.iterdir()) == [], "only node 0 writes"
    runs = connect(TrackingConfig(uri=cluster.tracking)).search_runs(["1"], f"tags.`{STAGE_TAG}` = 'train'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 2, "that of one process, and one of both nodes"


def test_a_node_that_is_stopped_ends_both_with_a_checkpoint_and_the_status_that_says_so(
    cluster: Cluster, tmp_path: Path
):
    """Each command is its container's first process, whom no signal ends that it does not handle itself."""
    settings = {"steps": 500, "validate_every": 500, "checkpoint_every": 500}
    nodes = start(cluster, tmp_path / "stopped", 2, **settings)
    follow = ["docker", "logs", "--follow", nodes[0].name]
    with subprocess.Popen(
        follow, env=cluster.engine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as log:
        assert log.stdout is not None
        assert next((line for line in log.stdout if "step" in line.lower()), ""), "node 0 ended before its first step"
        cluster.engine.docker("stop", "--time", "120", nodes[1].name)
        log.stdout.read()
    codes, printed = ended(cluster, nodes)
    assert codes == [EXIT_CODE, EXIT_CODE], printed
    assert list((nodes[0].out / "kept").glob("step-*"))
