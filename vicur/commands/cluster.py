"""``vicur cluster``: what runs on a cluster beside the pipeline's steps."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from vicur.commands.common import Commands, help_with_examples
from vicur.errors import VicurError

app = Commands(
    help=help_with_examples(
        "Trainings on several nodes of a cluster: their nodes, and what they leave.",
        "vicur cluster reap --run 1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    ),
    no_args_is_help=True,
)


@app.command()
def node() -> None:
    """Take part in a training on several nodes.

    The nodes of a TrainJob run this, and nobody by hand: what to do stands in VICUR_NODE_TASK, and which machine this is in torchrun's
    variables.

    [bold]Examples[/bold]

      PET_NNODES=2 PET_NODE_RANK=1 PET_MASTER_ADDR=node-0 PET_MASTER_PORT=29500 vicur cluster node
    """
    from vicur.cluster.jobs.node import run_node
    from vicur.cluster.jobs.task import NodeTask

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run_node(NodeTask.from_environment())


@app.command()
def reap(
    run: Annotated[
        str, typer.Option("--run", metavar="RUN_ID", help="The pipeline run; VICUR_RUN_ID if left out.")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where to look; the namespace that this runs in if left out.")
    ] = "",
) -> None:
    """Remove the training jobs that a run has left on the cluster.

    A step removes its job itself, also when it fails or is stopped. This is for what was killed without being told, and for a pipeline's
    exit handler. Checkpoints stay.

    [bold]Examples[/bold]

      vicur cluster reap --run 1b4e28ba-2fa1-11d2-883f-0016d3cca427

      vicur cluster reap --run "$RUN_ID" --namespace vicur
    """
    from vicur.cluster.jobs.api import KubernetesApi
    from vicur.cluster.jobs.cleanup import delete_jobs
    from vicur.cluster.jobs.client import connect

    run = run or os.environ.get("VICUR_RUN_ID", "")
    if not run:
        raise VicurError("no run is named.", where="--run", remedy="Name the pipeline run, or set VICUR_RUN_ID.")
    client, location = connect()
    names = delete_jobs(KubernetesApi(client, namespace or location.namespace), run)
    typer.echo("\n".join(f"Removed TrainJob {name}" for name in names) or f"Run {run} has left no training job.")
