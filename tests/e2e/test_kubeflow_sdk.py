"""The training command as a training job of Kubeflow's SDK with its container backend.

The backend cannot run a command, only a function under its own torchrun. The function translates the variables of this torchrun to those of
the training operator and runs the command. This tests the command, but not the manifest of a TrainJob.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubeflow.trainer import CustomTrainer, TrainerClient
from kubeflow.trainer.backends.container.types import ContainerBackendConfig, TrainingRuntimeSource
from kubeflow.trainer.options import Name

from tests.e2e.conftest import ROOT
from tests.e2e.nodes import Cluster, assert_close, final_weights, training_command, writable, write_inputs

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
NAME = "vicur-sdk"


def train(command: list[str]) -> None:
    """Run the command on a node. The SDK sends the source of this function, so it must be self-contained."""
    import os
    import subprocess
    import sys

    variables = os.environ
    node = {
        "PET_NNODES": variables["GROUP_WORLD_SIZE"],
        "PET_NODE_RANK": variables["GROUP_RANK"],
        "PET_MASTER_ADDR": variables["MASTER_ADDR"],
        # The SDK's torchrun uses the port itself.
        "PET_MASTER_PORT": str(int(variables["MASTER_PORT"]) + 1),
    }
    inherited = {name: variables[name] for name in ("PATH", "HOME", "USER", "OMP_NUM_THREADS", "MLFLOW_TRACKING_URI")}
    sys.exit(subprocess.run(command, env={**inherited, **node}, cwd="/tmp").returncode)  # noqa: S108


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerClient]:
    """Return the SDK's client for the private engine. It creates the folders of jobs in HOME, which is the folder of the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    runtime = yaml.safe_load((ROOT / "k8s" / "base" / "training" / "runtime.yaml").read_text())
    # The backend supports only cluster-wide runtimes.
    (tmp_path / "runtime.yaml").write_text(yaml.safe_dump({**runtime, "kind": "ClusterTrainingRuntime"}))
    client = TrainerClient(
        ContainerBackendConfig(
            container_host=cluster.engine.host,
            container_runtime="docker",
            pull_policy="Never",
            runtime_source=TrainingRuntimeSource(sources=[str(tmp_path / "runtime.yaml")]),
        )
    )
    yield client
    client.delete_job(NAME)


def test_a_job_on_two_nodes_gives_the_weights_of_one_process(client, cluster, one_process, tmp_path):
    workspace = tmp_path / ".kubeflow" / "trainer" / "containers" / NAME
    workspace.mkdir(parents=True)
    write_inputs(cluster, workspace)
    out = writable(workspace / "out")
    function = CustomTrainer(
        func=train,
        image=cluster.image,
        func_args={"command": training_command("/workspace")},
        num_nodes=2,
        env={"MLFLOW_TRACKING_URI": cluster.tracking},
    )
    client.train(runtime=client.get_runtime("vicur-torch"), trainer=function, options=[Name(NAME)])
    deadline = time.monotonic() + 600
    while (status := client.get_job(NAME).status) not in ("Complete", "Failed") and time.monotonic() < deadline:
        time.sleep(2)
    logs = "\n".join(client.get_job_logs(NAME))
    assert status == "Complete", logs[-6000:]
    assert_close(one_process, final_weights(out))
