"""The training command as a training job of Kubeflow's SDK, by its container backend.

The backend runs a function below its own torchrun, and no command. So the function hands the numbers that this torchrun gave to the
command, whose variables are the ones that the training operator sets. It proves the command, not a TrainJob's manifest.
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
from tests.e2e.nodes import Cluster, assert_alike, lay_out, learned, training_command, writable

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
NAME = "vicur-sdk"


def train(command: list[str]) -> None:
    """What each node runs; the SDK sends this function's source."""
    import os
    import subprocess
    import sys

    told = os.environ
    node = {
        "PET_NNODES": told["GROUP_WORLD_SIZE"],
        "PET_NODE_RANK": told["GROUP_RANK"],
        "PET_MASTER_ADDR": told["MASTER_ADDR"],
        "PET_MASTER_PORT": str(int(told["MASTER_PORT"]) + 1),
    }
    kept = {name: told[name] for name in ("PATH", "HOME", "USER", "OMP_NUM_THREADS", "MLFLOW_TRACKING_URI")}
    sys.exit(subprocess.run(command, env={**kept, **node}, cwd="/tmp").returncode)  # noqa: S108


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerClient]:
    """The SDK's client on our engine; its jobs' folders lie in its user's home, which is the test's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    runtime = yaml.safe_load((ROOT / "k8s" / "base" / "training" / "runtime.yaml").read_text())
    # The backend knows runtimes of a whole cluster alone.
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


def test_a_job_of_two_nodes_learns_what_one_process_learns(client, cluster, one_process, tmp_path):
    workspace = tmp_path / ".kubeflow" / "trainer" / "containers" / NAME
    workspace.mkdir(parents=True)
    lay_out(cluster, workspace)
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
    said = "\n".join(client.get_job_logs(NAME))
    assert status == "Complete", said[-6000:]
    assert_alike(one_process, learned(out))
