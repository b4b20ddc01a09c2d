"""``vicur cluster``: nodes and cleanup of trainings on several nodes."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from vicur.commands.common import Commands, examples, help_with_examples
from vicur.errors import VicurError

app = Commands(
    help=help_with_examples(
        "Run a node or a server of a multi-node training, or remove jobs that a run has left behind.",
        "vicur cluster reap --run 1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    ),
    no_args_is_help=True,
)


@app.command()
@examples(
    "PET_NNODES=2 PET_NODE_RANK=1 PET_MASTER_ADDR=node-0 PET_MASTER_PORT=29500 vicur cluster node",
)
def node() -> None:
    """Run one node of a multi-node training.

    The containers of a TrainJob run this command; it is not meant to be typed. It reads its task from VICUR_NODE_TASK and the node's rank
    from torchrun's environment variables.
    """
    from vicur.cluster.jobs.node import run_node
    from vicur.cluster.jobs.task import NodeTask

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_node(NodeTask.from_environment())


@app.command()
@examples("vicur cluster server")
def server() -> None:
    """Run a vLLM server of a training that is a job.

    The containers of a TrainJob run this command; it is not meant to be typed. It reads its task from VICUR_SERVER_TASK. Use vicur
    rollout-server to start a server yourself.
    """
    from vicur.cluster.jobs.server_pod import run_server_pod

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise typer.Exit(run_server_pod())


@app.command()
@examples(
    "vicur cluster reap --run 1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    'vicur cluster reap --run "$RUN_ID" --namespace vicur',
)
def reap(
    run: Annotated[
        str, typer.Option("--run", metavar="RUN_ID", help="Id of the pipeline run. Default: VICUR_RUN_ID.")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the jobs. Default: the namespace of this process.")
    ] = "",
) -> None:
    """Remove the training jobs that a pipeline run has left on the cluster.

    A step removes its own job, also if it fails or is stopped. Use this command after a step was killed; a pipeline's exit handler runs it
    too. Checkpoints are not removed.
    """
    from vicur.cluster.jobs.api import KubernetesApi
    from vicur.cluster.jobs.cleanup import delete_jobs
    from vicur.cluster.jobs.client import connect

    run = run or os.environ.get("VICUR_RUN_ID", "")
    if not run:
        raise VicurError(
            "no run is given, and VICUR_RUN_ID is not set.", where="--run", remedy="Give the id of the pipeline run."
        )
    client, location = connect()
    names = delete_jobs(KubernetesApi(client, namespace or location.namespace), run)
    typer.echo("\n".join(f"Removed TrainJob {name}" for name in names) or f"Run {run} has no training jobs left.")
