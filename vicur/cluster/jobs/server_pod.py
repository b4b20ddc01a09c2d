"""Work of a server's pod: fetch the model, and serve it to the nodes of the job."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vicur.cluster.jobs.failures import WRONG_INPUT
from vicur.cluster.jobs.servers import PORT, TASK_VARIABLE, ServerRole
from vicur.cluster.jobs.transfer import download_inputs
from vicur.config.cluster import ClusterConfig
from vicur.config.training import TrainConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE, StopOnSigterm

_ANY_HOST = "0.0.0.0"  # noqa: S104 (network policies and the key decide who may connect)


def server_roles(
    config: TrainConfig, inputs: Mapping[str, str], pool: ClusterConfig, image: str
) -> tuple[ServerRole, ...]:
    """Return the servers that a training needs as roles of its job.

    Args:
        inputs: path or S3 address of each input of the training.
    """
    roles = []
    for part, engine in config.engines.items():
        if engine.placement != "job":
            continue
        # A self-frozen teacher is the base.
        teacher = {"teacher": inputs.get("teacher", inputs["base"])} if part == "teacher" else {}
        task = {
            "section": config.model_dump(mode="json", exclude_none=True),
            "inputs": {"base": inputs["base"], **teacher},
        }
        # Kubernetes would expand $(NAME) in the values of variables.
        text = json.dumps(task, sort_keys=True).replace("$", "\\u0024")
        settings = engine.settings
        devices = settings.tensor_parallel if pool.gpu_count else 0
        roles.append(ServerRole(part, settings.replicas, devices, settings.start_minutes, image, text))
    return tuple(roles)


def run_server_pod() -> int:
    """Serve the model of this pod's task until SIGTERM, and return the exit status.

    Raises:
        VicurError: if the task is invalid, or vLLM cannot start; with exit status 75 if the object store does not respond.
    """
    # Imports torch.
    from vicur.training.rollout.serve import serve

    try:
        task = json.loads(os.environ[TASK_VARIABLE])
        section, addresses = dict(task["section"]), dict(task["inputs"])
    except (KeyError, ValueError, TypeError) as error:
        raise VicurError(
            "the variable with the server's task is missing or invalid.",
            where=TASK_VARIABLE,
            remedy="Do not run this command by hand: use vicur rollout-server.",
        ) from error
    config = validated(TrainConfig, section, "training")
    with tempfile.TemporaryDirectory(prefix="vicur-server-", dir=os.environ.get("VICUR_SCRATCH")) as scratch:
        try:
            with StopOnSigterm():
                inputs = download_inputs(addresses, Path(scratch))
        except VicurError as error:
            # A retry of the pod can be expected to succeed, and must not look like invalid input.
            if error.retryable and error.exit_code == WRONG_INPUT:
                error.exit_code = EXIT_CODE
            raise
        return serve(config, inputs["base"], _ANY_HOST, PORT, (), teacher=inputs.get("teacher"))
